"""One edge server: a machine with a disk and a clock, and on it the real agent (agent.py) and its monitors.

Each monitor is a process of its own that runs the real brain (position_monitor/uplink.py) and dials the agent. Whoever
dies is started again, the agent by its supervisor after a second, a monitor by the agent.
"""

import itertools
import math
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.drivers.base import MONITOR, Lineup, Observed
from edge_agent.failure import Failure
from edge_agent.gateways.routes import Backend
from edge_agent.machine.layout import Layout
from edge_agent.state.solitude import Moment
from mesh import clock
from mesh.link import Timing, WireLost
from position_monitor.board import Board
from position_monitor.uplink import Uplink
from tests.sim.agent import Agent, assembled
from tests.sim.disk import Disk
from tests.sim.machine import SimGateway, SimMachine
from tests.sim.network import Network, SimWire, Weather
from tests.sim.processes import Process, ProcessLoop
from tests.sim.witness import Witness
from waypost.errors import MeshError

LOCAL_WEATHER = Weather(delay_s=0.002)
RESTART_S = 1.0  # systemd's


@dataclass
class Edge:
    """dial: opens a connection to the control plane."""

    name: str
    loop: ProcessLoop
    rng: random.Random
    directory: Path
    watch: Witness
    dial: Callable[["Edge", Network], Any]
    contents: dict[str, bytes]
    broken: set[str]
    timing: Timing
    new_uuid: Callable[[], str]
    wall_skew_s: float = 0.0
    powered: bool = True
    keeps_down: bool = False
    """Its supervisor does not start the agent again."""
    process: Process | None = None
    """The agent's."""
    agent: Agent | None = None
    """None while it is down, or about to start."""
    monitors: dict[str, Process] = field(default_factory=dict)
    """By uid."""
    _starts: int = 0
    _boots: int = 0

    def __post_init__(self) -> None:
        self.disk = Disk(random.Random(self.rng.random()), self._written)
        self.machine = SimMachine(self, random.Random(self.rng.random()), self.broken)
        self.gateway = SimGateway(self)
        self.gateway.ack_delay_s = 0.02
        self.network = Network(random.Random(self.rng.random()))
        self.local = Network(random.Random(self.rng.random()), LOCAL_WEATHER)
        self.layout = Layout(self.disk.root("/data"), self.disk.root("/run"))  # type: ignore[arg-type]
        self._replicas = itertools.count(1)
        self.artifacts = self.directory / self.name.rpartition("/")[2]
        for kind in ("blobs", "versions"):
            (self.artifacts / kind).mkdir(parents=True)

    # -- the agent

    def boot(self) -> None:
        """Starts the agent, and again whenever it ends, as systemd would."""
        if self.process is not None or not self.powered or self.keeps_down:
            return
        self._starts += 1
        self.watch.book.note(f"agent {self.name[-1]} starts")
        self.process = self.loop.process(f"agent {self.name[-1]}", lambda: self.wall_skew_s)
        self.process.on_end.append(self._died)
        self.process.spawn(self._run(self.process), "main")

    async def _run(self, process: Process) -> None:
        try:
            self.agent = assembled(self, f"life-{self._starts}")
            await self.agent.run()
        except* MeshError as errors:  # a disk that cannot be read: its supervisor tries again
            self.watch.book.note(f"agent {self.name[-1]} ends: {errors.exceptions[0]}")
        process.kill()

    def _died(self) -> None:
        self.process = self.agent = None
        self.watch.book.note(f"agent {self.name[-1]} is dead")
        self.machine.later(RESTART_S + self.rng.random(), self.boot)

    # -- what the agent is given (agent.py)

    def new_replica_id(self) -> str:
        return f"r-{self.name[-1]}{next(self._replicas):05}"

    def moment(self) -> Moment:
        return Moment(f"boot-{self._boots}", self.loop.now_s, clock.now())

    async def dial_up(self) -> SimWire:
        """To the control plane."""
        wire: SimWire = await self.dial(self, self.network)
        return wire

    @property
    def reaches_source(self) -> bool:
        weather = self.network.weather
        return not (weather.up_blocked or weather.down_blocked)

    # -- its monitors

    def began(self, lineup: Lineup, observed: Observed) -> None:
        self.watch.machines.began(self, lineup, observed)
        if observed.id != MONITOR:
            return
        process = self.loop.process(f"monitor {lineup.position[-2:]}", lambda: self.wall_skew_s)
        self.monitors[lineup.uid] = process
        process.on_end.append(lambda: self.machine.end(lineup.uid, MONITOR))
        process.spawn(self._decide(lineup), "main")

    async def _decide(self, lineup: Lineup) -> None:
        uplink = Uplink(
            Board(lineup.position, lineup.uid, "{}"),
            self._dial_agent,
            boot_id=self.new_uuid(),
            rng=random.Random(self.rng.random()),
        )
        await uplink.run()

    async def _dial_agent(self) -> SimWire:
        return await self.local.connect(self._accept_monitor)

    def _accept_monitor(self, wire: SimWire) -> None:
        if self.agent is None or self.process is None:
            raise WireLost("connection refused")
        self.process.on_end.append(wire.end)
        self.process.spawn(serve(self.agent.monitors.serve, wire), "monitor")

    def ended(self, uid: str, observed: Observed) -> None:
        if observed.id == MONITOR and (process := self.monitors.pop(uid, None)) is not None:
            process.kill()
        self.watch.machines.ended(self, uid, observed)

    # -- what happens to it

    def cut_power(self) -> None:
        """Everything ends, and the disk forgets what was not synced. The others hear nothing of it."""
        self.powered = False
        if self.process is not None:
            self.process.on_end[:] = [self._died]  # no connection says goodbye
            self.process.kill()
        self.gateway.die()
        self.watch.machines.all_faulty(self, f"the power of {self.name} is cut")
        for uid, processes in self.machine.processes.items():
            for id_ in list(processes):
                self.machine.end(uid, id_, Failure("POWER_LOST", "the machine was started anew"))
        self.disk.cut_power()
        self._boots += 1
        self.watch.disks.power_cut(self)

    def power_up(self) -> None:
        self.powered = True
        self.boot()

    def kill_gateway(self) -> None:
        self.gateway.die()
        self.watch.machines.all_faulty(self, f"the gateway of {self.name} is dead")

    def hosts(self) -> list[tuple[str, str]]:
        """(uid, replica id) of those that run."""
        return [
            (uid, id_)
            for uid, processes in self.machine.processes.items()
            for id_, process in processes.items()
            if id_ != MONITOR and process.observed.running
        ]

    def hang(self, uid: str, id_: str) -> None:
        self.watch.machines.faulty(self, uid)
        self.machine.of(uid)[id_].answers_from_s = math.inf

    # -- what can be seen

    @property
    def usable(self) -> bool:
        """Whether the agent can do its work here."""
        runs = self.powered and self.agent is not None and self.process is not None and self.process.runs
        return runs and not self.disk.full and not self.disk.broken and self.gateway.refuse is None

    def routed(self, uid: str) -> dict[str, Backend]:
        """Hosts in the live route, by replica id."""
        route = self.gateway.table.by_uid.get(uid) if self.gateway.table else None
        return {host.id: host for host in route.hosts} if route else {}

    def answering(self, uid: str) -> list[Backend]:
        """Those that get calls and answer."""
        return [host for host in self.routed(uid).values() if host.weight and self.machine.answers(uid, host.id)]

    def _written(self, name: str) -> None:
        self.watch.disks.written(self, name)


async def serve(session: Callable[[SimWire], Any], wire: SimWire) -> None:
    """A session of a parent to its end; what it refuses reaches the child as the call's status."""
    try:
        await session(wire)
    except MeshError as error:
        wire.end(error)
    else:
        with suppress(WireLost):
            wire.end()
