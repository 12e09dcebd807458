"""The monitor's settings and how its parts are put together."""

import asyncio
import random
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal

from mesh import serve, settings
from mesh.clock import RandomIds
from mesh.identity import Identity
from mesh.link_grpc import dial_grpc
from mesh.tokens import Verifier
from mesh.version import VERSION
from position_monitor.access import AccessService
from position_monitor.board import Board
from position_monitor.hosts import HostService
from position_monitor.tokens import Issuer
from position_monitor.uplink import Uplink
from waypost.api.link.v1.host_link_pb2_grpc import add_HostLinkServiceServicer_to_server
from waypost.api.link.v1.monitor_link_pb2_grpc import MonitorLinkServiceStub
from waypost.api.xapp.v1.access_pb2_grpc import add_AccessServiceServicer_to_server
from waypost.errors import MeshError, Precondition
from waypost.rpc import open_aio_channel

QUIET = frozenset({"/waypost.api.xapp.v1.AccessService/ReportLoops", "/waypost.api.xapp.v1.AccessService/Resolve"})


class MonitorSettings(settings.Settings):
    """The monitor of one position: decides which versions run there, and exchanges tokens for its xApps."""

    position: str
    """Full name of the position: `projects/.../applications/.../positions/...`."""
    position_uid: str
    """UUID of the position: audience of its access tokens."""
    agent: str
    """Address of the agent's MonitorLinkService: `unix:/path` or `host:port`."""
    listen: str
    """Address to serve hosts and xApps at: `unix:/path` or `host:port`."""
    signing_key: Path
    """PEM file with the key that access tokens are signed with. The agent makes it."""
    jwks: Path
    """JSON Web Key Set with the keys that callers' tokens may be signed with. The agent makes it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error; debug shows every call."""


def main(argv: Sequence[str]) -> int:
    """Runs until SIGTERM; returns the exit code."""
    try:
        chosen = settings.load(MonitorSettings, argv, prog="python -m position_monitor", env_prefix="WAYPOST_MONITOR_")
    except MeshError as error:
        sys.stderr.write(serve.render(error))
        return 2
    return serve.run("monitor", lambda stop: run(chosen, stop), log_level=chosen.log_level)


async def run(chosen: MonitorSettings, stop: asyncio.Event) -> None:
    """Serves and follows the agent until `stop`. Raises: Precondition, Invalid."""
    jwks = _read(chosen.jwks).decode()
    board = Board(chosen.position, chosen.position_uid, jwks)
    access = AccessService(
        board, Issuer(_read(chosen.signing_key), chosen.position_uid), Verifier(jwks, chosen.position_uid)
    )
    boot_id = RandomIds().uuid()
    version = VERSION
    hosts = HostService(board, incarnation=boot_id, software_version=version)
    server = serve.grpc_server(quiet=QUIET)
    add_HostLinkServiceServicer_to_server(hosts, server)
    add_AccessServiceServicer_to_server(access, server)
    serve.listen(server, chosen.listen, Identity.local())
    async with open_aio_channel(chosen.agent) as channel:
        dial = dial_grpc(MonitorLinkServiceStub(channel).ConnectMonitor)
        uplink = Uplink(board, dial, boot_id=boot_id, software_version=version, rng=random.Random())
        await server.start()
        try:
            await _live(stop, uplink=uplink.run(), metrics=uplink.measure(), hosts=hosts.follow())
        finally:
            await server.stop(None)  # at once: hosts and xApps come back to the next monitor


async def _live(stop: asyncio.Event, **lives: Coroutine[Any, Any, None]) -> None:
    """Runs `lives`, which have no end, until `stop`."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(life, name=name) for name, life in lives.items()]
        await stop.wait()
        for task in running:
            task.cancel()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "the agent writes this file; start the monitor through it, or name the right file"
        raise Precondition("NO_KEY_FILE", f"{path} cannot be read: {error.strerror}", hint) from error
