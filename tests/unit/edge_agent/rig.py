"""An agent without sockets on virtual time: real ledger, artifacts, router and workers over shipped fakes.

A `Rig` is an edge server: its disk, its processes and its gateway outlive the agents that run on it in turn.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from edge_agent.artifacts.blobs import Blobs, FakeSource
from edge_agent.artifacts.store import Artifacts
from edge_agent.drivers.fake import FakeDriver, FakeMachine
from edge_agent.gateways.fake import FakeGateway
from edge_agent.identity.local_links import SocketLinks
from edge_agent.machine.layout import Layout
from edge_agent.machine.software import Software
from edge_agent.position.mode import Kind, Mode
from edge_agent.reconcile.gate import StartGate
from edge_agent.reconcile.health import FakeHealth
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.probe import Answer, FakeProbe
from edge_agent.reconcile.router import Router
from edge_agent.reconcile.supervise import Supervisor
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Moment, Solitude
from mesh.link import DesiredState, Item
from mesh.packages import version_digest
from tests.sim.virtual import VirtualLoop
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion, Signature, TensorSpec
from waypost.api.control.v1.position_pb2 import EndpointSpec, PositionSpec, PositionState, PositionStatus, Replicas
from waypost.api.inference.v1.inference_pb2 import ModelInferResponse
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment, PositionReport
from waypost.api.link.v1.monitor_link_pb2 import Decision, PositionOrders, Verdict, VersionShare
from waypost.errors import Unavailable

UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001"
OTHER_UID = "8f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002"
POSITION = "projects/p/applications/a/positions/tower-7"
OTHER = "projects/p/applications/a/positions/tower-8"
MODEL = "projects/p/applications/a/models/m"
MONITOR_CONNECTS_S = 0.3


class Inline(ThreadPoolExecutor):
    """Runs what it is given at once: on virtual time there is nobody to wait for a thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """On virtual time."""

    async def without_threads() -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_default_executor(Inline(1))
        try:
            await scenario
        finally:
            loop._default_executor = None  # shutting it down would start a thread and wait for it

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(without_threads())


def moment() -> Moment:
    """On a machine that was never booted again."""
    return Moment("boot", asyncio.get_running_loop().time(), 0.0)


def content(version: str) -> bytes:
    return f"model {version}".encode()


def model_version(version: str) -> ModelVersion:
    data = content(version)
    artifact = Artifact(path="model.onnx", digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size_bytes=len(data))
    inputs = [TensorSpec(name="x", datatype="FP32", shape=[-1, 3])]
    built = ModelVersion(name=f"{MODEL}/versions/{version}", artifacts=[artifact], signature=Signature(inputs=inputs))
    built.digest = version_digest(built.artifacts)
    return built


def assignment(
    version: str = "1",
    *,
    generation: int = 1,
    replicas: int = 1,
    uid: str = UID,
    position: str = POSITION,
    port: bool = False,
    deleting: bool = False,
    serve_as: str = "",
) -> PositionAssignment:
    wanted = model_version(version)
    spec = PositionSpec(
        model_version=wanted.name,
        replicas=Replicas(min=replicas, max=4),
        endpoint=EndpointSpec(dedicated_port=port),
        serve_as=serve_as,
    )
    return PositionAssignment(
        position=position, uid=uid, generation=generation, spec=spec, model_version=wanted, deleting=deleting
    )


def decision(number: int, *shares: tuple[str, int, int], rejected: tuple[str, ...] = ()) -> Decision:
    """shares: version, replicas, weight."""
    return Decision(
        number=number,
        generation=1,
        shares=[
            VersionShare(model_version=f"{MODEL}/versions/{v}", digest=model_version(v).digest, replicas=n, weight=w)
            for v, n, w in shares
        ],
        verdicts=[
            Verdict(model_version=f"{MODEL}/versions/{v}", digest=model_version(v).digest, reason="START_FAILED")
            for v in rejected
        ],
    )


class FakeMonitors:
    """Monitors that connect some time after their process was started, and decide nothing by themselves."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self.orders: dict[str, PositionOrders] = {}
        self.deaf = False
        self.wake: Callable[[str], None] = lambda uid: None

    def post(self, position: str, orders: PositionOrders) -> None:
        self.orders[position] = orders
        if not self.connected(position):
            asyncio.get_running_loop().call_later(MONITOR_CONNECTS_S + 0.01, self.wake, orders.uid)

    def drop(self, position: str) -> None:
        self.orders.pop(position, None)

    def connected(self, position: str) -> bool:
        orders = self.orders.get(position)
        process = self._machine.of(orders.uid).get("monitor") if orders else None
        if self.deaf or process is None or not process.observed.running:
            return False
        return asyncio.get_running_loop().time() >= process.observed.started_s + MONITOR_CONNECTS_S


class FakeReports:
    def __init__(self) -> None:
        self.reports: dict[str, PositionReport] = {}
        self.states: list[str] = []
        """Of all positions, as they changed."""
        self.events: list[tuple[str, str]] = []
        self.told = 0
        """How often anything was said of a position, the same or not."""

    def report(self, position: str, report: PositionReport) -> None:
        self.told += 1
        before = self.reports.get(position)
        if before is None or before.status.state != report.status.state:
            self.states.append(PositionState.Name(report.status.state).removeprefix("POSITION_STATE_"))
        self.reports[position] = report

    def retract(self, position: str) -> None:
        self.reports.pop(position, None)

    def event(self, position: str, reason: str, message: str) -> None:
        self.events.append((reason, message))


class Rig:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "data", directory / "run")
        self.layout.create()
        self.machine = FakeMachine(ready_delay_s=0.2, drain_s=0.1)
        self.gateway = FakeGateway(ack_delay_s=0.02)
        self.source = FakeSource({model_version(v).artifacts[0].digest: content(v) for v in "1234"})
        self.monitors = FakeMonitors(self.machine)
        self.reports = FakeReports()
        self.ids = (f"r-{number:06}" for number in count(1))
        self.probes = 0
        self.artifact_bytes_max = 0
        self.loading_max = 8
        self.ledger = Ledger(self.layout.ledger)
        self.supervisor: Supervisor
        self.solitude: Solitude
        self.version = 0

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Supervisor]:
        """An agent; leaving the block is its death: nothing is said or written down."""
        async with asyncio.TaskGroup() as tasks:
            self.ledger = Ledger(self.layout.ledger)
            self.reports = FakeReports()
            self.solitude = Solitude(self.ledger.alone, self.ledger.keep_alone, moment)
            driver = FakeDriver(self.machine)
            parts = Parts(
                layout=self.layout,
                ledger=self.ledger,
                driver=driver,
                artifacts=Artifacts(
                    self.layout.versions, Blobs(self.layout.blobs, self.source, bytes_max=self.artifact_bytes_max)
                ),
                health=FakeHealth(self.machine.answers),
                gate=StartGate(self.loading_max),
                router=Router(self.gateway),
                probe=FakeProbe(self._answer),
                monitors=self.monitors,
                links=SocketLinks(),
                reports=self.reports,
                solitude=self.solitude,
                software=Software(self.layout.software),
                server=driver.fingerprint(),
                gateway_address=self.gateway.address,
                domain="edge.local",
                grace_s=5.0,
                hung_after_s=30.0,
                ports=range(7700, 7702),
                port_is_free=lambda port: True,
                new_replica_id=lambda: next(self.ids),
            )
            self.supervisor = Supervisor(parts)
            self.monitors.wake = self.supervisor.wake
            life = tasks.create_task(self.supervisor.run())
            yield self.supervisor
            life.cancel()

    # -- what others do

    def hears(self, *, connected: bool) -> None:
        """The link to the control plane came up, or broke."""
        self.solitude.changed(connected=connected)
        if connected:
            self.supervisor.source_is_back()

    def assign(self, *assignments: PositionAssignment) -> None:
        """The control plane wants this, and nothing else."""
        self.version += 1
        items = [Item(a.position, self.version, a.SerializeToString()) for a in assignments]
        self.ledger.keep_desired(DesiredState.of("store-1", self.version, items))
        self.supervisor.desired_changed()

    def set_mode(self, kind: Kind, reason: str = "") -> None:
        """Somebody on the machine."""
        self.ledger.keep_mode(Mode(kind, reason, 1.0))
        self.supervisor.mode_changed()

    def decide(self, decided: Decision, uid: str = UID) -> None:
        """The position's monitor."""
        self.ledger.keep_decision(uid, decided)
        self.supervisor.wake(uid)

    def _answer(self, uid: str) -> Answer:
        """Goes by the gateway's table to a host, if one answers."""
        self.probes += 1
        route = self.gateway.table.by_uid.get(uid) if self.gateway.table else None
        for host in route.hosts if route else ():
            if self.machine.answers(uid, host.id):
                return Answer(ModelInferResponse(), host.shape.partition("/")[0])
        raise Unavailable("NO_HOST", "no host answers")

    # -- what can be seen

    def status(self, position: str = POSITION) -> PositionStatus:
        report = self.reports.reports.get(position)
        return report.status if report else PositionStatus()

    def state(self, position: str = POSITION) -> str:
        return PositionState.Name(self.status(position).state).removeprefix("POSITION_STATE_")

    def running(self, uid: str = UID) -> dict[str, str]:
        """Replica id to the version that it runs, of those that run and are not drained."""
        processes = self.machine.of(uid)
        return {
            id_: process.observed.version.name.rpartition("/")[2]
            for id_, process in processes.items()
            if id_ != "monitor" and process.observed.running and not process.observed.draining
        }

    def routed(self, uid: str = UID) -> dict[str, int]:
        """Replica id to weight, by the gateway's table."""
        route = self.gateway.table.by_uid.get(uid) if self.gateway.table else None
        return {host.id: host.weight for host in route.hosts} if route else {}

    def condition(self, kind: str, position: str = POSITION) -> str:
        """The reason, or TRUE."""
        found = next(c for c in self.status(position).conditions if c.type == kind)
        return found.reason or "TRUE"

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> float:
        """Seconds that it took, of virtual time."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  virtual time passes only while somebody sleeps
                await asyncio.sleep(0.01)
        return loop.time() - began_s

    async def until_state(self, state: str, position: str = POSITION, within_s: float = 30.0) -> float:
        return await self.until(lambda: self.state(position) == state, within_s)
