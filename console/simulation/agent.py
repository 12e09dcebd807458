"""One simulated agent: a real link, and an edge server that is made up.

The link is the one of real agents, from its back-off to its acknowledgements (mesh.link): over TCP, TLS with the
agent's own certificate and HTTP/2, by the SDK's own wire layer, since five thousand channels of grpcio would take five
thousand times its memory. Metrics go up every ten seconds, as monitors measure them, or as often as somebody watches.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Mapping

from console.simulation.enrolment import Membership, identified
from console.simulation.positions import Behaviour, SimulatedPosition, take
from mesh import clock
from mesh.link import EMPTY, ChildLink, ChildWire, DesiredState, Item
from mesh.link_wire import dial_wire
from mesh.metrics import Histogram
from mesh.times import timestamp
from mesh.version import VERSION
from mesh.waiting import news_within
from waypost.api.control.v1.edge_server_pb2 import Capacity
from waypost.api.control.v1.position_pb2 import LatencyHistogram, PositionMetrics
from waypost.api.link.v1 import command_pb2 as commands
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport, PositionAssignment
from waypost.errors import MeshError, Precondition
from waypost.rpc.wire_channel import WireChannel

CONNECT = "/waypost.api.link.v1.AgentLinkService/ConnectAgent"
CALLS_PER_SAMPLE = 20
LATENCY_MU, LATENCY_SIGMA = -6.0, 0.5  # 2.5 ms in the median, 8 ms in one of a hundred
METRICS_S = 10.0  # as monitors send them when nobody watches
GATEWAY = "http://simulated.invalid"  # RFC 2606: nobody answers there
_CAPACITY = Capacity(cpu_millis=4000, memory_bytes=8 << 30, disk_free_bytes=64 << 30, architecture="simulated")


class SimulatedAgent:
    """`mesh.link.ChildHandler`. changed: called whenever something of the attributes below has changed."""

    def __init__(
        self,
        membership: Membership,
        behaviour: Behaviour,
        rng: random.Random,
        changed: "Callable[[SimulatedAgent], None]",
        dialling: asyncio.Semaphore,
    ) -> None:
        """dialling: held for as long as a handshake lasts."""
        self.edge_server = membership.edge_server
        self.positions: Mapping[str, SimulatedPosition] = {}
        """By full name. To be read only."""
        self.sessions = 0
        """How often it was welcomed."""
        self.first_welcome_s = math.inf
        """On the event loop's clock."""
        self._membership = membership
        self._behaviour = behaviour
        self._rng = rng
        self._changed = changed
        self._wire: ChildWire | None = None
        self._dialled = rng.randrange(len(membership.link_addresses))
        self._redirected = ""
        self._news = asyncio.Event()
        self._pace_s = METRICS_S
        self._link = ChildLink(
            self._dial,
            self,
            identity=self.edge_server,
            boot_id=clock.RandomIds().uuid(),
            rng=rng,
            held=EMPTY,
            turn=dialling,
            redirected=self._redirect,
        )

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def tokens(self) -> int:
        """How many secrets of their applications its positions know, all together."""
        return sum(len(each.assignment.tokens) for each in self.positions.values())

    async def run(self) -> None:
        """Dials for ever; cancel it to end."""
        report = EdgeServerReport(agent_version=VERSION, driver="simulated", gateway="simulated", capacity=_CAPACITY)
        self._link.report(self.edge_server, report.SerializeToString(deterministic=True))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run(), name=f"link-{self.edge_server}")
            tasks.create_task(self._live(), name=f"positions-{self.edge_server}")

    async def cut(self) -> None:
        """The connection breaks, if there is one; it dials again by itself."""
        if self._wire is not None:
            await self._wire.close()

    # -- mesh.link.ChildHandler

    def refuse(self, item: Item) -> MeshError | None:
        return None

    async def keep(self, state: DesiredState) -> None:
        told = {name: PositionAssignment.FromString(item.body) for name, item in state.items.items()}
        for name in self.positions.keys() - told.keys():
            self._link.retract(name)
        self.positions = take(self.positions, told, self._behaviour, _now_s())
        self._report(self.positions)
        self._news.set()

    async def keep_epoch(self, epoch: int) -> None:
        self.sessions += 1
        self.first_welcome_s = min(self.first_welcome_s, _now_s())

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        self._pace_s = pace_s if names else METRICS_S
        self._news.set()

    def command(self, command: commands.Command) -> AsyncIterator[commands.Result]:
        message = f"{self.edge_server} is simulated: there is nothing behind its agent"
        raise Precondition("SIMULATED", message, "ask a real edge server")

    def link_changed(self, connected: bool) -> None:
        self._changed(self)

    # ------------------------------------------------------------------------------------------------------------------

    async def _dial(self) -> ChildWire:
        addresses = self._membership.link_addresses
        self._dialled += 1
        address, self._redirected = self._redirected or addresses[self._dialled % len(addresses)], ""
        self._wire = await dial_wire(lambda: WireChannel(address, tls=identified(self._membership)), CONNECT)()
        return self._wire

    def _redirect(self, link_address: str) -> None:
        self._redirected = link_address.split(",")[0].strip()

    async def _live(self) -> None:
        """Deployments come to their end, and metrics go up."""
        sample_s = _now_s() + self._rng.uniform(0, METRICS_S)  # a fleet was not switched on in one instant
        while True:
            self._news.clear()
            now_s = _now_s()
            done = [name for name, each in self.positions.items() if each.advance(self._behaviour, self._rng, now_s)]
            if done:
                self._report(done)
            if now_s >= sample_s:
                self._sample()
                sample_s = now_s + self._pace_s
            sample_s = min(sample_s, now_s + self._pace_s)
            ready = (each.ready_at_s for each in self.positions.values() if each.ready_at_s is not None)
            await news_within(self._news, min((sample_s, *ready)) - now_s)

    def _report(self, names: "Mapping[str, SimulatedPosition] | list[str]") -> None:
        for name in names:
            position = self.positions[name]
            report = position.report(GATEWAY)
            self._link.report(name, report.SerializeToString(deterministic=True))
        self._changed(self)

    def _sample(self) -> None:
        for name, position in self.positions.items():
            if position.serves:
                metrics = PositionMetrics(name=name, window_ms=round(self._pace_s * 1000), cpu=0.01)
                metrics.time.CopyFrom(timestamp(clock.now()))
                metrics.latency.CopyFrom(self._latency())
                metrics.requests = sum(metrics.latency.counts)
                self._link.sample(metrics.SerializeToString())

    def _latency(self) -> LatencyHistogram:
        """Of a position that is called now and then."""
        histogram = Histogram()
        for _ in range(CALLS_PER_SAMPLE):
            histogram.add(self._rng.lognormvariate(LATENCY_MU, LATENCY_SIGMA))
        return histogram.to_proto()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
