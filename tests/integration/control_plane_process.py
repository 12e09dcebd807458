"""A real control plane for tests: its process, clients of its API, and agents that enrol and dial as real ones do."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.links.upstreams import Upstreams
from edge_agent.position.assignments import sets_back
from mesh.link import EMPTY, ChildLink, DesiredState, Item, Timing
from tests import waiting
from tests.waiting import PATIENCE_S
from waypost.api.control.v1 import (
    application_pb2,
    application_pb2_grpc,
    credential_pb2,
    credential_pb2_grpc,
    edge_server_pb2,
    edge_server_pb2_grpc,
    project_pb2,
    project_pb2_grpc,
)
from waypost.api.link.v1 import enrolment_pb2_grpc
from waypost.api.link.v1.command_pb2 import Command, LogPiece, Result
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest
from waypost.errors import MeshError
from waypost.rpc import Tls, open_aio_channel

QUICK = Timing(patience=5.0, backoff_initial=0.02, backoff_max=0.2)

T = TypeVar("T")


class ControlPlaneProcess:
    """`python -m control_plane`, started and killed at will, always at the same addresses."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.api = self.link = "127.0.0.1:0"
        self.code: Path | None = None
        """Another copy of the source tree to run, instead of ours."""
        self.log: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "control_plane", "--data-dir", str(self.data_dir)]
        command += ["--listen", self.api, "--link-listen", self.link, *self.options]
        where: dict[str, Any] = {}
        if self.code is not None:
            where = {"cwd": self.code, "env": {**os.environ, "PYTHONPATH": f"{self.code}:{self.code}/sdk/python/src"}}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **where)
        serving = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(self._process, serving))
        self._reader.start()
        if not serving.wait(PATIENCE_S) or self._process.poll() is not None:
            raise AssertionError("it ended before it served:\n" + "".join(self.log[-20:]))

    def _read(self, process: "subprocess.Popen[str]", serving: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.log.append(line)
            if '"event": "serving"' in line:
                told = json.loads(line)
                self.api, self.link = told["api"], told["link"]
                serving.set()
        serving.set()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(number)
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def roots(self) -> bytes:
        return (self.data_dir / "ca.pem").read_bytes()

    @property
    def token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    def channel(self, *, token: str | None = "") -> Any:
        """To the API, with the admin's token unless another one or None is given."""
        chosen = self.token if token == "" else token
        return open_aio_channel(self.api, tls=Tls(roots=self.roots), token=chosen)


def share_authority(one: ControlPlaneProcess, two: ControlPlaneProcess) -> None:
    """What an operator carries from the first control plane to the next."""
    (two.data_dir / "identity").mkdir(parents=True)
    for name in ("identity/ca.pem", "identity/ca.key", "admin.token"):
        shutil.copy(one.data_dir / name, two.data_dir / name)


@contextmanager
def control_plane(data_dir: Path, *options: str) -> Iterator[ControlPlaneProcess]:
    process = ControlPlaneProcess(data_dir, *options)
    process.start()
    try:
        yield process
    finally:
        process.kill()


async def until(
    read: Callable[[], Awaitable[T]], wanted: Callable[[T], object], *, every_s: float = waiting.LOOK_EVERY_S
) -> T:
    """What `read` gives as soon as it is `wanted`; while a server is away it is asked again."""
    return await waiting.until(read, wanted, every_s=every_s, not_yet=MeshError)


# ---- what people do first --------------------------------------------------------------------------------------------


async def make_application(channel: Any, project: str = "p", application: str = "a") -> str:
    await project_pb2_grpc.ProjectServiceStub(channel).CreateProject(
        project_pb2.CreateProjectRequest(project_id=project)
    )
    answer = await application_pb2_grpc.ApplicationServiceStub(channel).CreateApplication(
        application_pb2.CreateApplicationRequest(parent=f"projects/{project}", application_id=application)
    )
    return str(answer.application.name)


async def make_edge_server(channel: Any, edge_server: str) -> str:
    """Creates it; returns its join token."""
    await edge_server_pb2_grpc.EdgeServerServiceStub(channel).CreateEdgeServer(
        edge_server_pb2.CreateEdgeServerRequest(edge_server_id=edge_server)
    )
    return await make_join_token(channel, edge_server, "join")


async def make_join_token(channel: Any, edge_server: str, credential_id: str) -> str:
    answer = await credential_pb2_grpc.CredentialServiceStub(channel).CreateCredential(
        credential_pb2.CreateCredentialRequest(parent=f"edgeServers/{edge_server}", credential_id=credential_id)
    )
    return str(answer.secret)


# ---- agents ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What an agent keeps after enrolling, in PEM."""

    chain: bytes
    key: bytes
    roots: bytes

    @property
    def tls(self) -> Tls:
        return Tls(roots=self.roots, certificate=self.chain, key=self.key)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


async def enrol(
    plane: ControlPlaneProcess, join_token: str, key: ec.EllipticCurvePrivateKey | None = None
) -> Certificate:
    key = key or new_key()
    async with plane.channel(token=None) as channel:
        request = EnrolRequest(join_token=join_token, certificate_request=certificate_request(key))
        answer = await enrolment_pb2_grpc.EnrolmentServiceStub(channel).Enrol(request)
    assert plane.link in answer.link_address
    return Certificate(answer.certificate_chain.encode(), private_pem(key), answer.roots.encode())


@dataclass
class Agent:
    """`mesh.link.ChildHandler` that keeps what it is told."""

    held: DesiredState = EMPTY
    epochs: list[int] = field(default_factory=list)
    refusals: list[MeshError] = field(default_factory=list)
    """Why the control plane did not let it in, for what it said of this agent."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    link: ChildLink = field(init=False)
    upstreams: Upstreams = field(init=False)

    def refuse(self, item: Item) -> MeshError | None:
        return None

    async def keep(self, state: DesiredState) -> None:
        self.held = state
        self.news.set()
        self.news = asyncio.Event()

    async def keep_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def interest(self, names: frozenset[str], pace_s: float) -> None: ...

    async def command(self, command: Command) -> AsyncIterator[Result]:
        yield Result(log=LogPiece(source="monitor", text=f"asked for {command.read_logs.position}\n"))

    def link_changed(self, connected: bool) -> None: ...


@asynccontextmanager
async def agent(
    plane: ControlPlaneProcess, certificate: Certificate, identity: str, *, addresses: str = "", seed: int = 1
) -> AsyncIterator[Agent]:
    """Dials until the end of the block. addresses: of several control planes' links, as an agent is told them."""
    handler, rng = Agent(), random.Random(seed)
    upstreams = Upstreams(addresses or plane.link, certificate.tls, rng)
    handler.upstreams = upstreams
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        stack.push_async_callback(upstreams.close)
        handler.link = ChildLink(
            upstreams.dial,
            handler,
            identity=identity,
            boot_id="boot",
            rng=rng,
            timing=QUICK,
            refused=handler.refusals.append,
            redirected=upstreams.redirect,
            sets_back=sets_back,
        )
        task = tasks.create_task(handler.link.run())
        try:
            yield handler
        finally:
            task.cancel()
