"""A real agent process between a scripted control plane and everything real below it: Envoy, monitors, hosts.

The control plane of these tests says what should run, keeps what it is told, and serves artifacts, over the real TLS
with a real root; the agent enrols with it as with any other.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from control_plane.identity.authority import AGENT_LIFE, Authority
from edge_agent.artifacts.blobs import FakeSource
from edge_agent.identity.enrolment import Enrolment, EnrolmentFile
from mesh import clock, serve
from mesh.certificates import is_signed
from mesh.link import DesiredState, Item, ParentSession, Refusal, Timing
from mesh.link_grpc import ServerWire
from mesh.packages import version_digest
from mesh.processes import Process
from tests import waiting
from tests.ports import free_port, free_ports
from tests.waiting import PATIENCE_S
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion, Signature, TensorSpec
from waypost.api.control.v1.position_pb2 import PositionMetrics, PositionSpec, PositionState, PositionStatus, Replicas
from waypost.api.link.v1 import agent_link_pb2_grpc, artifact_source_pb2_grpc, enrolment_pb2_grpc, link_pb2
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport, PositionAssignment, PositionReport
from waypost.api.link.v1.artifact_source_pb2 import ReadArtifactResponse
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest, RenewResponse
from waypost.errors import MeshError

EDGE_SERVER = "edgeServers/edge-1"
UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001"
POSITION = "projects/p/applications/a/positions/tower-7"
MODEL = "projects/p/applications/a/models/affine"
QUICK = Timing(lease=6.0, heartbeat=2.0)


class ControlPlane(
    agent_link_pb2_grpc.AgentLinkServiceServicer,
    artifact_source_pb2_grpc.ArtifactSourceServiceServicer,
    enrolment_pb2_grpc.EnrolmentServiceServicer,
):
    """Says what the test wants, and remembers what it is told."""

    def __init__(self, directory: Path, agent_life: timedelta = AGENT_LIFE) -> None:
        self.authority = Authority.open(directory / "authority", now=clock.now(), agent_life=agent_life)
        self.source = FakeSource()
        self.api = self.link = "127.0.0.1:0"
        self.assignments: dict[str, PositionAssignment] = {}
        self.reports: dict[str, PositionReport] = {}
        self.states: list[str] = []
        """Of all positions, as they were heard of, without repetitions."""
        self.events: list[link_pb2.ChildEvent] = []
        self.metrics: list[PositionMetrics] = []
        self.server: EdgeServerReport = EdgeServerReport()
        self.version = 0
        self.epoch = 0
        self.sessions = 0
        self.behind_s = 0.0
        """By how much its clock is behind that of the agent."""
        self.renewals = 0
        self.refusal: MeshError | None = None
        """Of links and renewals, until somebody enrols."""
        self.knocks = 0
        """How often the refusal was given to a link."""
        self._session: ParentSession | None = None
        self._servers: list[Any] = []

    async def start(self) -> None:
        """At the addresses of the time before, if there was one."""
        identity = self.authority.identity(["127.0.0.1"], now=clock.now())
        api, link = serve.grpc_server(), serve.grpc_server()
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(self, api)
        agent_link_pb2_grpc.add_AgentLinkServiceServicer_to_server(self, link)
        artifact_source_pb2_grpc.add_ArtifactSourceServiceServicer_to_server(self, link)
        self.api = serve.listen(api, self.api, identity)
        self.link = serve.listen(link, self.link, identity, mutual=True)
        self._servers = [api, link]
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(None)

    def join_token(self, pin: str | None = None) -> str:
        return f"wp1_secret.{pin or self.authority.pin}"

    # -- services

    async def Enrol(self, request: Any, context: Any) -> EnrolResponse:  # noqa: N802
        self.refusal = None
        return EnrolResponse(edge_server=EDGE_SERVER, **self._issued(request))

    async def Renew(self, request: Any, context: Any) -> RenewResponse:  # noqa: N802
        held = self.authority.agent(x509.load_der_x509_certificate(request.certificate))
        assert is_signed(request.certificate_request, request.signature, held.key)
        if self.refusal is not None:
            raise self.refusal
        self.renewals += 1
        return RenewResponse(**self._issued(request))

    def _issued(self, request: EnrolRequest | RenewRequest) -> dict[str, str]:
        now, roots = clock.now() - self.behind_s, self.authority.roots.decode()
        asked = request.authority_request  # older agents have no authority
        return {
            "certificate_chain": self.authority.issue(request.certificate_request, "edge-1", now=now),
            "authority_certificate": self.authority.issue_authority(asked, "edge-1", now=now) if asked else "",
            "roots": roots,
            "api_roots": roots,
            "link_address": self.link,
        }

    async def ReadArtifact(self, request: Any, context: Any) -> AsyncIterator[ReadArtifactResponse]:  # type: ignore[override]  # noqa: N802
        async for data in self.source.read(request.digest, request.offset):
            yield ReadArtifactResponse(data=data)

    async def ConnectAgent(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        if self.refusal is not None:
            self.knocks += 1
            raise self.refusal
        handler = _AgentSession(self)
        handler.session = self._session = ParentSession(handler, timing=QUICK)
        await handler.session.serve(ServerWire(context))

    # -- what the test says

    def assign(self, *assignments: PositionAssignment) -> None:
        """From now on this is what should run, and nothing else."""
        self.version += 1
        self.assignments = {a.position: a for a in assignments}
        if self._session is not None:
            self._session.poke()

    def desired(self) -> DesiredState:
        items = [Item(name, self.version, a.SerializeToString()) for name, a in self.assignments.items()]
        return DesiredState.of("store-1", self.version, items)

    async def command(self, command: Command) -> list[Result]:
        assert self._session is not None
        return [piece async for piece in self._session.call(command)]

    def watch(self, *positions: str) -> None:
        assert self._session is not None
        self._session.set_interest(positions, 1.0)

    # -- what the test sees

    def status(self, position: str = POSITION) -> PositionStatus:
        report = self.reports.get(position)
        return report.status if report else PositionStatus()

    def state(self, position: str = POSITION) -> str:
        return PositionState.Name(self.status(position).state).removeprefix("POSITION_STATE_")

    def condition(self, kind: str, position: str = POSITION) -> str:
        """The reason, or TRUE."""
        return next((c.reason or "TRUE" for c in self.status(position).conditions if c.type == kind), "")


class _AgentSession:
    session: ParentSession

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def admit(self, hello: link_pb2.Hello) -> int:
        assert hello.identity == EDGE_SERVER
        self._plane.epoch = max(self._plane.epoch, hello.epoch) + 1
        self._plane.sessions += 1
        return self._plane.epoch

    async def desired(self) -> DesiredState:
        return self._plane.desired()

    async def may_prune(self, held: link_pb2.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        assert not refusals

    async def status(self, items: Mapping[str, link_pb2.StatusItem], full: bool) -> None:
        plane = self._plane
        for name, item in items.items():
            if name == EDGE_SERVER:
                plane.server = EdgeServerReport.FromString(item.body)
            elif item.body:
                plane.reports[name] = PositionReport.FromString(item.body)
                state = plane.state(name)
                if plane.states[-1:] != [state]:
                    plane.states.append(state)
            else:
                plane.reports.pop(name, None)
        if full:
            plane.reports = {name: report for name, report in plane.reports.items() if name in items}

    async def metrics(self, samples: Sequence[bytes]) -> None:
        self._plane.metrics += [PositionMetrics.FromString(sample) for sample in samples]

    async def events(self, events: Sequence[link_pb2.ChildEvent]) -> None:
        self._plane.events += events

    async def link_changed(self, connected: bool) -> None: ...


class AgentProcess:
    """`python -m edge_agent`, started and killed at will, in one data directory."""

    def __init__(self, directory: Path, plane: ControlPlane, *options: str) -> None:
        self.data_dir = directory / "edge"
        self.plane = plane
        self.options = options
        self.program: Sequence[str] = (sys.executable, "-m", "edge_agent")
        self.gateway = f"127.0.0.1:{free_port()}"
        ports = free_ports(100)
        self.ports = f"{ports[0]}-{ports[-1]}"
        self._process = Process(directory / "agent")
        (directory / "join.token").write_text(plane.join_token())
        self.join_token = directory / "join.token"

    @property
    def arguments(self) -> list[str]:
        return [
            *("--data-dir", str(self.data_dir), "--gateway-listen", self.gateway),
            *("--api", self.plane.api, "--join-token", str(self.join_token)),
            *("--port-range", self.ports, "--drain-grace-s", "5", *self.options),
        ]

    def start(self) -> None:
        self._process.spawn([*self.program, "run", *self.arguments])

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        await waiting.until(lambda: self._process.signal(number))  # else it has not written its pid yet
        assert await self._process.ended(within_s=10)

    @property
    def alive(self) -> bool:
        return self._process.alive()

    def stop_all(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "edge_agent", "stop-all", *self.arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    # -- what runs

    def ask(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`waypost agent VERB`, on the machine."""
        command = [sys.executable, "-m", "edge_agent", verb, "--data-dir", str(self.data_dir), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def processes(self, kind: str = "*") -> dict[str, Process]:
        """Living hosts and monitors, by replica id or `monitor`."""
        paths = [*self.data_dir.glob("positions/*/hosts/*"), *self.data_dir.glob("positions/*/monitor")]
        found = {path.name: Process(path) for path in paths}
        return {name: p for name, p in found.items() if p.alive() and (kind == "*" or name.startswith(kind))}

    def pids(self, kind: str = "*") -> dict[str, int | None]:
        return {name: process.pid() for name, process in self.processes(kind).items()}

    def key(self) -> bytes:
        return next(self.data_dir.glob("positions/*/signing_key.pem")).read_bytes()

    def enrolment_file(self) -> EnrolmentFile:
        return EnrolmentFile(self.data_dir / "identity")

    def enrolment(self) -> Enrolment:
        found = self.enrolment_file().read()
        assert found is not None
        return found

    def log(self) -> str:
        """Its own, the newest lines."""
        return self._process.tail(60)

    def life(self, number: int) -> str:
        """What it logged since it ran for this time, the first being 1; empty before. Only of a young agent."""
        lives = self.log().split('"event": "agent_runs"')
        return lives[number] if number < len(lives) else ""

    def logs(self) -> str:
        tails = [f"--- agent\n{self._process.tail(60)}"]
        for path in sorted(self.data_dir.rglob("log")):
            tails.append(f"--- {path.parent.name}\n{Process(path.parent).tail(12)}")
        return "\n".join(tails)


@asynccontextmanager
async def world(
    directory: Path, *options: str, agent_life: timedelta = AGENT_LIFE
) -> AsyncIterator[tuple[ControlPlane, AgentProcess]]:
    """A control plane and a running agent that has joined it; afterwards nothing of them is left."""
    plane = ControlPlane(directory, agent_life)
    await plane.start()
    agent = AgentProcess(directory, plane, *options)
    try:
        agent.start()
        await until(lambda: plane.sessions > 0, agent)
        yield plane, agent
    finally:
        if agent.alive:
            await agent.end(signal.SIGTERM)
        stopped = await asyncio.to_thread(agent.stop_all)
        await plane.stop()
        assert stopped.returncode == 0, stopped.stderr


async def until(condition: Callable[[], object], agent: AgentProcess) -> None:
    """Tells what everybody reported and logged where it does not come."""

    def told() -> str:
        reports = [f"{name}: {report.status}" for name, report in agent.plane.reports.items()]
        return "\n".join([*reports, agent.logs()])

    await waiting.until(condition, every_s=0.01, more=told)


def artifact(plane: ControlPlane, path: str, content: bytes) -> Artifact:
    """Stored at the control plane."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    plane.source.contents[digest] = content
    return Artifact(path=path, digest=digest, size_bytes=len(content))


def version(plane: ControlPlane, name: str, onnx: Path) -> ModelVersion:
    """A version whose only artifact is this graph, FP32 [-1, 4] in and out."""
    artifacts = [artifact(plane, "model.onnx", onnx.read_bytes())]
    return _version(name, artifacts=artifacts, framework="onnx", idempotent=True)


def template_version(plane: ControlPlane, name: str, source: str, template_class: str) -> ModelVersion:
    """A version that is a template, FP32 [-1, 4] in and out; its sample is one row of zeros."""
    sample = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}]}
    artifacts = [
        artifact(plane, "template.py", source.encode()),
        artifact(plane, "samples.json", json.dumps([sample]).encode()),
    ]
    return _version(name, artifacts=artifacts, framework="template", template_class=f"template:{template_class}")


def _version(name: str, **fields: Any) -> ModelVersion:
    inputs = [TensorSpec(name="x", datatype="FP32", shape=[-1, 4])]
    outputs = [TensorSpec(name="y", datatype="FP32", shape=[-1, 4])]
    signature = Signature(inputs=inputs, outputs=outputs)
    built = ModelVersion(name=f"{MODEL}/versions/{name}", signature=signature, **fields)
    built.digest = version_digest(built.artifacts)
    return built


def assignment(wanted: ModelVersion, *, generation: int = 1, replicas: int = 1, **more: Any) -> PositionAssignment:
    spec = PositionSpec(
        model_version=wanted.name, edge_server=EDGE_SERVER, replicas=Replicas(min=replicas, max=replicas)
    )
    fields: dict[str, Any] = {"position": POSITION, "uid": UID, **more}
    return PositionAssignment(generation=generation, spec=spec, model_version=wanted, **fields)


def kill(pid: int | None) -> None:
    assert pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
