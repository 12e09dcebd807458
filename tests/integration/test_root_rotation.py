"""The root of a real control plane is replaced under real agents: nobody is cut off, whoever was away comes back."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from console import contexts
from console.contexts import Context
from edge_agent.identity.enrolment import Enrolment, EnrolmentFile
from mesh.certificates import is_directly_under, pin, read_key
from tests.integration.command_line import WAYPOST
from tests.integration.control_plane_process import (
    ControlPlaneProcess,
    control_plane,
    make_edge_server,
    make_join_token,
    until,
)
from tests.ports import free_port
from waypost.api.control.v1.authority_pb2 import (
    Authority,
    FinishAuthorityRotationRequest,
    GetAuthorityRequest,
    RotateAuthorityRequest,
)
from waypost.api.control.v1.authority_pb2_grpc import AuthorityServiceStub
from waypost.errors import Precondition, Unavailable
from waypost.rpc import Tls, open_aio_channel


class AgentProcess:
    """`waypost agent join`, killed and started at will."""

    def __init__(self, plane: ControlPlaneProcess, directory: Path, name: str) -> None:
        self._plane = plane
        self._name = name
        self._data_dir = directory / name
        self.token_file = directory / f"{name}.token"
        self._gateway = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    async def join(self) -> None:
        async with self._plane.channel() as channel:
            self.token_file.write_text(await make_edge_server(channel, self._name))
        self.start()

    def start(self) -> None:
        dial = ["--control-plane", self._plane.link, "--api", self._plane.api, "--token-file", str(self.token_file)]
        where = ["--data-dir", str(self._data_dir), "--gateway-listen", self._gateway]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "join", *where, *dial], stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def end(self) -> None:
        self.kill()
        stop = [sys.executable, "-m", "edge_agent", "stop-all", "--data-dir", str(self._data_dir)]
        subprocess.run(stop, check=True, capture_output=True, timeout=60)

    @property
    def enrolment(self) -> Enrolment:
        found = EnrolmentFile(self._data_dir / "identity").read()
        assert found is not None
        return found


@contextmanager
def agents(plane: ControlPlaneProcess, directory: Path, *names: str) -> Iterator[list[AgentProcess]]:
    with ExitStack() as stack:
        made = [AgentProcess(plane, directory, name) for name in names]
        for agent in made:
            stack.callback(agent.end)
        yield made


def asking(plane: ControlPlaneProcess, roots: bytes = b"") -> Callable[[], Awaitable[Authority]]:
    """roots: what the caller trusts; empty: what `ca.pem` says now."""

    async def ask() -> Authority:
        tls = Tls(roots=roots or plane.roots)
        async with open_aio_channel(plane.api, tls=tls, token=plane.token) as channel:
            return (await AuthorityServiceStub(channel).GetAuthority(GetAuthorityRequest(), timeout=5)).authority

    return ask


async def rotate(plane: ControlPlaneProcess) -> Authority:
    async with plane.channel() as channel:
        return (await AuthorityServiceStub(channel).RotateAuthority(RotateAuthorityRequest())).authority


async def finish(plane: ControlPlaneProcess, *, force: bool = False) -> Authority:
    async with plane.channel() as channel:
        request = FinishAuthorityRotationRequest(force=force)
        return (await AuthorityServiceStub(channel).FinishAuthorityRotation(request)).authority


def ready(number: int) -> Callable[[Authority], bool]:
    return lambda authority: authority.edge_servers_ready == number


def signed_authority(enrolment: Enrolment, root: str) -> bool:
    """Whether the root with this pin has signed the authority that the agent certifies with."""
    signed = x509.load_pem_x509_certificate(enrolment.authority_certificate)
    trusted = {pin(each): each for each in x509.load_pem_x509_certificates(enrolment.identity.roots)}
    ours = signed.public_key() == read_key(enrolment.authority_key).public_key()
    return ours and is_directly_under(signed, trusted[root])


def test_the_root_is_replaced_and_who_was_away_comes_back_through_the_bridge(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlaneProcess, here: AgentProcess, away: AgentProcess) -> None:
        await here.join()
        await away.join()
        await until(asking(plane), ready(2))
        before, roots_before = here.enrolment, plane.roots
        async with plane.channel() as channel:
            spare = await make_join_token(channel, "here", "spare")
        away.kill()

        made = await rotate(plane)
        assert [root.signs for root in made.roots] == [True, False]
        assert plane.roots.startswith(made.ca_pem.encode())
        shown = await until(asking(plane), ready(1))
        assert [server.edge_server for server in shown.waiting] == ["edgeServers/away"]
        assert here.enrolment.trusted_roots == [root.sha256 for root in made.roots]
        assert here.enrolment.identity.key != before.identity.key
        assert here.enrolment.authority_key == before.authority_key
        assert signed_authority(before, made.roots[1].sha256)
        assert signed_authority(here.enrolment, made.roots[0].sha256)
        await until(asking(plane, roots_before), ready(1))  # a context of before still works; it dials anew meanwhile

        plane.kill()
        plane.start()
        with pytest.raises(Precondition, match="away") as refused:
            await finish(plane)
        assert refused.value.reason == "EDGE_SERVERS_WAIT"

        away.start()
        await until(asking(plane), ready(2))
        ended = await finish(plane)
        assert [root.sha256 for root in ended.roots] == [made.roots[0].sha256]
        await until(asking(plane), ready(2))  # told again: nobody trusts the old root any more
        assert away.enrolment.trusted_roots == here.enrolment.trusted_roots == [made.roots[0].sha256]
        with pytest.raises(Unavailable):
            await asking(plane, roots_before)()
        assert made.roots[1].sha256 in spare
        async with plane.channel() as channel:
            assert made.roots[0].sha256 in await make_join_token(channel, "here", "next")

    with control_plane(tmp_path / "plane") as plane, agents(plane, tmp_path, "here", "away") as (here, away):
        asyncio.run(scenario(plane, here, away))


def test_who_was_left_behind_joins_again_with_a_new_token(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlaneProcess, lost: AgentProcess) -> None:
        await lost.join()
        await until(asking(plane), ready(1))
        lost.kill()
        await rotate(plane)
        await finish(plane, force=True)
        async with plane.channel() as channel:
            lost.token_file.write_text(await make_join_token(channel, "lost", "again"))
        lost.start()
        await until(asking(plane), ready(1))

    with control_plane(tmp_path / "plane") as plane, agents(plane, tmp_path, "lost") as (lost,):
        asyncio.run(scenario(plane, lost))


def test_a_join_token_of_before_is_good_until_the_end(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlaneProcess, late: AgentProcess) -> None:
        async with plane.channel() as channel:
            late.token_file.write_text(await make_edge_server(channel, "late"))
        await rotate(plane)
        late.start()
        await until(asking(plane), ready(1))

    with control_plane(tmp_path / "plane") as plane, agents(plane, tmp_path, "late") as (late,):
        asyncio.run(scenario(plane, late))


def test_the_command_line_shows_each_step_and_brings_its_context_along(tmp_path: Path) -> None:
    with control_plane(tmp_path / "plane") as plane:
        path = tmp_path / "context.json"
        before = Context("here", plane.api, plane.roots.decode(), plane.token)
        contexts.write(path, before)

        def waypost(*arguments: str) -> "subprocess.CompletedProcess[str]":
            command = [*WAYPOST, "--context", str(path), "authority", *arguments]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        refused = waypost("finish")
        assert (refused.returncode, "rotate" in refused.stderr) == (1, True)
        rotated = waypost("rotate")
        assert rotated.stdout.count("signs") == rotated.stdout.count("trusted") == 1
        assert contexts.read(path).ca_pem.encode() == plane.roots != before.ca_pem.encode()
        finished = waypost("finish")
        assert (finished.returncode, finished.stdout.count("trusted")) == (0, 0)
        assert waypost("status").stdout == finished.stdout
        assert contexts.read(path).ca_pem.encode() == plane.roots
