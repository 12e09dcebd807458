"""`waypost agent join` on a machine that can only dial out: a network namespace of its own, behind a veth pair.

The control plane runs on this machine's end of the pair. In the namespace there is the other end, loopback, and no way
to anywhere else; what the agent listens at is read from the kernel, and it is loopback only.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.integration.control_plane_process import ControlPlaneProcess, until
from tests.integration.test_control_plane import is_connected, shown
from waypost.api.control.v1 import credential_pb2, credential_pb2_grpc

HERE, THERE = "169.254.77.1", "169.254.77.2"  # link-local (RFC 3927): nobody routes them
LISTENING = "0A"  # state of a socket in /proc/net/tcp


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace with one end of a pair in it. Skips the test where this machine does not allow it."""
    name, pair = f"waypost-{os.getpid()}", (f"wp{os.getpid()}a", f"wp{os.getpid()}b")
    if shutil.which("ip") is None:
        pytest.skip("the command `ip` is not here")
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        try:
            ip("link", "add", pair[0], "type", "veth", "peer", "name", pair[1], "netns", name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no veth pairs here: {error.stderr.strip()}")
        ip("address", "add", f"{HERE}/30", "dev", pair[0])
        ip("link", "set", pair[0], "up")
        for command in (f"address add {THERE}/30 dev {pair[1]}", f"link set {pair[1]} up", "link set lo up"):
            ip("-n", name, *command.split())
        yield name
    finally:
        with suppress(subprocess.CalledProcessError):
            ip("link", "delete", pair[0])
        ip("netns", "delete", name)


def listeners(pid: int) -> set[str]:
    """Addresses (hex, as the kernel writes them) that anybody in the network namespace of a process listens at."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == LISTENING:
                found.add(local.partition(":")[0])
    return found


@contextmanager
def joined(
    namespace: str, plane: ControlPlaneProcess, directory: Path, token: str
) -> Iterator["subprocess.Popen[str]"]:
    """`waypost agent join`, in the namespace; afterwards nothing of it is left."""
    file = directory / "join.token"
    file.write_text(f"{token}\n")
    file.chmod(0o600)
    inside = ["ip", "netns", "exec", namespace, sys.executable, "-m", "edge_agent"]
    where = ["--data-dir", str(directory / "edge")]
    dial = ["--control-plane", plane.link, "--api", plane.api, "--token-file", str(file), "--name", "tower-7"]
    process = subprocess.Popen([*inside, "join", *where, *dial], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        subprocess.run([*inside, "stop-all", *where], check=True, capture_output=True, timeout=60)


async def fleet_token(plane: ControlPlaneProcess) -> str:
    asked = credential_pb2.Credential(edge_server_pattern="tower-*", max_uses=2)
    request = credential_pb2.CreateCredentialRequest(parent="edgeServers/-", credential_id="fleet", credential=asked)
    async with plane.channel() as channel:
        return str((await credential_pb2_grpc.CredentialServiceStub(channel).CreateCredential(request)).secret)


def test_one_command_enrols_and_starts_an_agent_that_can_only_dial_out(tmp_path: Path) -> None:
    with namespace() as isolated:
        plane = ControlPlaneProcess(tmp_path / "control-plane")
        plane.api = plane.link = f"{HERE}:0"
        plane.start()
        try:
            token = asyncio.run(fleet_token(plane))
            with joined(isolated, plane, tmp_path, token) as agent:
                joined_as = partial(shown, plane, "edgeServers/tower-7")
                asyncio.run(until(joined_as, lambda server: bool(server.status.gateway_address)))
                assert is_connected(asyncio.run(joined_as()))
                assert listeners(agent.pid) == {"0100007F"}  # 127.0.0.1: the gateway
            identity = json.loads((tmp_path / "edge/identity/enrolment.json").read_text())
            assert identity["edge_server"] == "edgeServers/tower-7"
            assert token not in "".join(plane.log)
        finally:
            plane.kill()
