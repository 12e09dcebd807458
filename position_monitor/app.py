"""The monitor's settings and how its parts are put together."""

import asyncio
import random
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import grpc.aio

from mesh import serve, settings
from mesh.clock import RandomIds
from mesh.identity import Identity, IdentityOnDisk
from mesh.link import Dial
from mesh.link_grpc import dial_grpc
from mesh.spiffe import agent_dns
from mesh.tokens import Verifier
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
    """Address of the agent's MonitorLinkService: `unix:/path`, or `host:port` for mutual TLS."""
    listen: str
    """Address to serve hosts and xApps at: `unix:/path` or `host:port`."""
    link_listen: str = ""
    """ip:port to serve hosts at that are not on this machine, over mutual TLS. Empty: nowhere."""
    identity: Path | None = None
    """Directory with certificate.pem, key.pem and roots.pem for mutual TLS; files that are replaced are taken up. The
    agent writes them."""
    edge_server: str = ""
    """Id of the edge server, for mutual TLS: it is part of the names in all of its certificates."""
    signing_key: Path
    """PEM file with the key that access tokens are signed with. The agent makes it."""
    jwks: Path
    """JSON Web Key Set with the keys that callers' tokens may be signed with. The agent makes it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error; debug shows every call."""

    def check(self) -> None:
        over_tcp = self.link_listen or not self.agent.startswith("unix:")
        if over_tcp and not (self.identity and self.edge_server):
            raise ValueError("over TCP links are mutual TLS: give --identity and --edge-server, or use Unix sockets")


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
    hosts = HostService(board, incarnation=boot_id, edge_server=chosen.edge_server)
    server = serve.grpc_server(quiet=QUIET)
    add_HostLinkServiceServicer_to_server(hosts, server)
    add_AccessServiceServicer_to_server(access, server)
    serve.listen(server, chosen.listen, Identity.local())
    servers = [server, *_links_over_tls(chosen, hosts)]
    async with AsyncExitStack() as stack:
        dial = _dial(chosen)
        uplink = Uplink(board, dial, boot_id=boot_id, rng=random.Random())
        for each in servers:
            await each.start()
            stack.push_async_callback(each.stop, None)  # at once: hosts and xApps come back to the next monitor
        await _live(stop, uplink=uplink.run(), metrics=uplink.measure(), scale=uplink.scale(), hosts=hosts.follow())


def _links_over_tls(chosen: MonitorSettings, hosts: HostService) -> list[grpc.aio.Server]:
    """Where hosts of other machines dial: one server, or none. Nothing else is served there."""
    if not chosen.link_listen:
        return []
    assert chosen.identity is not None
    server = serve.grpc_server()
    add_HostLinkServiceServicer_to_server(hosts, server)
    try:
        serve.listen(server, chosen.link_listen, IdentityOnDisk(chosen.identity), mutual=True)
    except OSError as error:
        raise _no_key_file(chosen.identity, error) from error
    return [server]


def _dial(chosen: MonitorSettings) -> Dial:
    """To the agent: on a Unix socket, or over mutual TLS."""

    def open_channel() -> grpc.aio.Channel:
        if chosen.agent.startswith("unix:"):
            return open_aio_channel(chosen.agent)
        assert chosen.identity is not None
        return open_aio_channel(chosen.agent, tls=Identity.load(chosen.identity).tls(agent_dns(chosen.edge_server)))

    return dial_grpc(open_channel, lambda channel: MonitorLinkServiceStub(channel).ConnectMonitor)


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
        raise _no_key_file(path, error) from error


def _no_key_file(path: Path, error: OSError) -> Precondition:
    hint = "the agent writes this file; start the monitor through it, or name the right file"
    return Precondition("NO_KEY_FILE", f"{error.filename or path} cannot be read: {error.strerror}", hint)
