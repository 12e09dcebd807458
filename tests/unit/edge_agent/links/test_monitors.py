"""Link 2: orders go down, decisions come up and are written down before anybody hears of them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from edge_agent.links.monitors import MonitorEars, Monitors
from edge_agent.state.ledger import Ledger
from mesh.link import LOCAL, ChildLink, DesiredState, Item
from tests.sim.network import Network, SimWire
from tests.sim.virtual import run
from tests.unit.edge_agent.rig import OTHER, POSITION, UID, decision
from waypost.api.link.v1.command_pb2 import Command
from waypost.api.link.v1.monitor_link_pb2 import Decision, MonitorReport, PositionOrders
from waypost.errors import Exhausted, MeshError


@dataclass
class Monitor:
    """mesh.link.ChildHandler: a monitor that does as the test says."""

    orders: PositionOrders | None = None
    pace_s: float = 0.0
    watched: frozenset[str] = frozenset()
    epoch: int = 0

    def refuse(self, item: Item) -> MeshError | None:
        return None

    async def keep(self, state: DesiredState) -> None:
        for item in state.items.values():
            self.orders = PositionOrders.FromString(item.body)

    async def keep_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        self.watched, self.pace_s = names, pace_s

    def command(self, command: Command) -> Any:
        raise NotImplementedError  # nobody commands an agent here

    def link_changed(self, connected: bool) -> None: ...


@dataclass
class World:
    """An agent's end and what it hears; `monitor` opens other ends."""

    ledger: Ledger
    woken: list[str] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    monitors: Monitors = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The agent dies, and the next one begins."""
        self.monitors = Monitors(self.ledger, incarnation=str(random.random()))
        ears = MonitorEars(self.woken.append, self.samples.append, lambda *event: self.events.append(event))
        self.monitors.listen(ears)

    @asynccontextmanager
    async def monitor(self, handler: Monitor, position: str = POSITION) -> AsyncIterator[ChildLink]:
        network = Network(random.Random(1))
        async with asyncio.TaskGroup() as tasks:
            serving: list[asyncio.Task[None]] = []

            async def serve(wire: SimWire) -> None:
                try:
                    await self.monitors.serve(wire)
                except MeshError:
                    await wire.close()

            async def dial() -> Any:
                return await network.connect(lambda wire: serving.append(tasks.create_task(serve(wire))))

            link = ChildLink(dial, handler, identity=position, boot_id="b", rng=random.Random(2), timing=LOCAL)
            life = tasks.create_task(link.run())
            yield link
            for task in (life, *serving):
                task.cancel()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def orders(**more: Any) -> PositionOrders:
    return PositionOrders(position=POSITION, uid=UID, generation=1, **more)


def report(decided: Decision) -> bytes:
    return MonitorReport(decision=decided).SerializeToString()


def test_orders_go_down_and_again_whenever_they_change(ledger: Ledger) -> None:
    async def scenario() -> None:
        world, monitor = World(ledger), Monitor()
        world.monitors.post(POSITION, orders())
        async with world.monitor(monitor):
            await asyncio.sleep(1)
            assert monitor.orders == orders()
            assert world.monitors.connected(POSITION)
            assert POSITION in world.woken
            world.monitors.post(POSITION, orders(digest="sha256:2"))
            await asyncio.sleep(1)
            assert monitor.orders == orders(digest="sha256:2")
            world.monitors.drop(POSITION)
            await asyncio.sleep(1)
            assert not world.monitors.connected(POSITION)

    run(scenario())


def test_a_decision_is_in_the_ledger_before_anybody_is_woken(ledger: Ledger) -> None:
    async def scenario() -> None:
        world = World(ledger)
        world.monitors.post(POSITION, orders())
        async with world.monitor(Monitor()) as link:
            await asyncio.sleep(1)
            seen: list[int] = []
            world.monitors.listen(
                MonitorEars(
                    lambda position: seen.append((ledger.decision(UID) or Decision()).number),
                    world.samples.append,
                    lambda *event: None,
                )
            )
            link.report(POSITION, report(decision(1, ("1", 1, 100))))
            await asyncio.sleep(1)
            assert seen == [1]
            link.report(POSITION, report(decision(1, ("2", 1, 100))))
            await asyncio.sleep(1)
            assert ledger.decision(UID) == decision(1, ("1", 1, 100))

    run(scenario())


def test_a_decision_that_makes_no_sense_leaves_the_last_good_one_in_force(ledger: Ledger) -> None:
    async def scenario() -> None:
        world = World(ledger)
        world.monitors.post(POSITION, orders())
        async with world.monitor(Monitor()) as link:
            link.report(POSITION, report(decision(1, ("1", 1, 100))))
            await asyncio.sleep(1)
            for nonsense in (decision(2, ("1", 1, 60)), decision(0)):
                link.report(POSITION, report(nonsense))
                await asyncio.sleep(1)
            link.report(POSITION, b"\xff\xff")
            await asyncio.sleep(1)
            assert ledger.decision(UID) == decision(1, ("1", 1, 100))
            assert world.monitors.connected(POSITION)

    run(scenario())


def test_a_decision_that_cannot_be_written_down_is_said_again(ledger: Ledger) -> None:
    async def scenario() -> None:
        world = World(ledger)
        world.monitors.post(POSITION, orders())
        async with world.monitor(Monitor()) as link:
            await asyncio.sleep(1)
            with patch.object(ledger, "_write_decisions", side_effect=Exhausted("DISK_FULL", "no space left")):
                link.report(POSITION, report(decision(1, ("1", 1, 100))))
                await asyncio.sleep(5)
                assert ledger.decision(UID) is None
            await asyncio.sleep(10)
            assert ledger.decision(UID) == decision(1, ("1", 1, 100))

    run(scenario())


def test_a_monitor_finds_the_next_agent_and_hears_its_orders(ledger: Ledger) -> None:
    async def scenario() -> None:
        world, monitor = World(ledger), Monitor()
        world.monitors.post(POSITION, orders())
        async with world.monitor(monitor) as link:
            link.report(POSITION, report(decision(3, ("1", 1, 100))))
            await asyncio.sleep(1)
            old, epoch = world.monitors, monitor.epoch
            world.restart()
            world.monitors.post(POSITION, orders(digest="sha256:9"))
            old.drop(POSITION)
            await asyncio.sleep(5)
            assert monitor.orders == orders(digest="sha256:9")
            assert monitor.epoch > epoch

    run(scenario())


def test_a_monitor_of_a_position_that_is_not_here_is_not_let_in(ledger: Ledger) -> None:
    async def scenario() -> None:
        world, monitor = World(ledger), Monitor()
        world.monitors.post(POSITION, orders())
        async with world.monitor(monitor, OTHER) as link:
            await asyncio.sleep(5)
            assert not link.connected
            assert monitor.orders is None

    run(scenario())


def test_figures_and_events_are_passed_on_and_interest_is_passed_down(ledger: Ledger) -> None:
    async def scenario() -> None:
        world, monitor = World(ledger), Monitor()
        world.monitors.post(POSITION, orders())
        async with world.monitor(monitor) as link:
            link.sample(b"figures")
            link.event(time_unix_ms=1, resource=POSITION, reason="ROLLOUT", message="v2", source="monitor")
            await asyncio.sleep(1)
            assert world.samples == [b"figures"]
            assert world.events == [(POSITION, "ROLLOUT", "v2")]
            world.monitors.set_interest(frozenset({POSITION, OTHER}), 1.0)
            await asyncio.sleep(1)
            assert (monitor.watched, monitor.pace_s) == ({POSITION}, 1.0)
            world.monitors.set_interest(frozenset(), 0.0)
            await asyncio.sleep(1)
            assert monitor.watched == frozenset()

    run(scenario())
