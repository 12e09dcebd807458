"""The machine of an edge server: its processes, its gateway, and what it can fetch. All of it outlives the agent.

Hosts load, answer, hang, crash and drain in virtual time; what becomes of each is drawn when it starts. The fakes that
ship (edge_agent/drivers/fake.py, edge_agent/gateways/fake.py) do as the agent says; here stands what happens by itself.
"""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_agent.drivers.base import MONITOR, Lineup, Observed
from edge_agent.drivers.fake import FakeMachine, Fate
from edge_agent.failure import Failure
from edge_agent.gateways.fake import FakeGateway
from edge_agent.model_version import Version
from tests.sim.processes import world_context, writing
from waypost.errors import Unavailable

if TYPE_CHECKING:
    from tests.sim.edge import Edge


@dataclass
class Temper:
    """What becomes of hosts here; changes with the weather."""

    slow_s: float = 1.0
    """The longest that a host takes to load."""
    fails: float = 0.0
    """Chance that a start comes to nothing."""
    dies: float = 0.0
    """Chance that a host dies within a minute."""


class SimMachine(FakeMachine):
    """Processes that outlive the agent. edge: told of every start, drain and end."""

    __slots__ = ("broken", "context", "doomed_until_s", "edge", "rng", "temper")

    def __init__(self, edge: "Edge", rng: random.Random, broken: set[str]) -> None:
        super().__init__()
        self.edge, self.rng, self.broken = edge, rng, broken
        self.temper = Temper()
        self.doomed_until_s = 0.0
        """When the last of those that are going to die by themselves has died."""
        self.context = world_context()

    def fate(self, id_: str, version: Version) -> Fate:
        writing()
        temper, ready_s = self.temper, self.rng.uniform(0.05, self.temper.slow_s)
        drain_s = self.rng.choice([0.0, self.rng.uniform(0, 8.0)])  # some longer than the grace
        if version.digest in self.broken or (id_ != MONITOR and self.rng.random() < temper.fails):
            failure = Failure("LOAD_FAILED", "the model cannot be loaded", "publish another version")
            return Fate(math.inf, ready_s, failure, drain_s)
        if self.rng.random() < temper.dies:
            dies_s = self.rng.uniform(0, 60.0)
            self.doomed_until_s = max(self.doomed_until_s, asyncio.get_running_loop().time() + dies_s)
            return Fate(ready_s, dies_s, Failure("CRASHED", "it ended with exit code 1"), drain_s)
        return Fate(ready_s, drain_s=drain_s)

    def began(self, lineup: Lineup, observed: Observed) -> None:
        self.edge.began(lineup, observed)

    def drains(self, uid: str, observed: Observed) -> None:
        writing()
        self.edge.watch.machines.drained(self.edge, uid, observed)

    def ended(self, uid: str, observed: Observed) -> None:
        self.edge.ended(uid, observed)

    def later(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(delay_s, act, *arguments, context=self.context)


class SimGateway(FakeGateway):
    """A gateway that outlives the agent. edge: told of every table that becomes live."""

    def __init__(self, edge: "Edge") -> None:
        super().__init__()
        self._edge = edge
        self._context = world_context()

    def later(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        given_s = asyncio.get_running_loop().time()

        def live() -> None:
            before = self.table
            act(*arguments)
            del self.applied[:-1]
            if self.table is not None and self.table is not before:
                self._edge.watch.machines.routed(self._edge, before, self.table, given_s)

        asyncio.get_running_loop().call_later(delay_s, live, context=self._context)


class SimSource:
    """Artifacts of the control plane, as far as the network lets them through."""

    def __init__(self, contents: dict[str, bytes], away: Callable[[], bool], rng: random.Random) -> None:
        self._contents, self._away, self._rng = contents, away, rng

    async def read(self, digest: str, offset: int) -> Any:
        content = self._contents[digest]
        for start in range(offset, len(content), 8):
            await asyncio.sleep(self._rng.uniform(0, 0.2))
            if self._away():
                raise Unavailable("UNAVAILABLE", "connection refused")
            yield content[start : start + 8]
