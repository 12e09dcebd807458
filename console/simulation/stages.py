"""What is done with a simulated fleet, stage by stage, and how long each took.

    enrolment          every agent joins, dials, and is welcomed
    first deployment   every edge server gets its positions, one call of the API for each
    steady state       nothing happens but heartbeats and metrics
    new token          one call that concerns every position at once: the application gets one more token
    other version      every position gets another version, one call for each
    links cut          every link breaks in the same moment, and comes back: a reconnect storm

Seconds count from the beginning of a stage to the moment when the last of it has reached an agent. What it made in the
platform is deleted in the end, also where the simulation is interrupted.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from console.contexts import Context
from console.simulation.agent import SimulatedAgent
from console.simulation.enrolment import Enrolment
from console.simulation.figures import Spread, Stage
from console.simulation.fleet import Fleet
from console.simulation.machine import Meter, Reading, allow_connections
from console.simulation.platform import TOKEN_USES, Platform, each, open_platform
from console.simulation.positions import Behaviour
from waypost import names

JOINING_AT_ONCE = 32
PATIENCE_S = 900.0  # for one stage; a fleet that needs longer is stuck
SETTLE_S = 1.0  # after a stage: what the control plane still writes of it belongs to its cost

Report = Callable[[Stage], None]
Strike = Callable[[Sequence[SimulatedAgent]], Awaitable[Meter | None]]
"""What breaks every link. Returns the meter of the control plane where that is another process now."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to simulate."""

    agents: int
    model_version: str = ""
    """Full name; empty: no positions."""
    positions_per_agent: int = 1
    then: str = ""
    """Full name of another version of the same application; empty: that stage is left out."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    duration_s: float = 30.0
    """Of the steady state."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Storm:
    """A way in which all links break in one moment."""

    name: str
    strike: Strike


async def _cut_all(agents: Sequence[SimulatedAgent]) -> None:
    await asyncio.gather(*(agent.cut() for agent in agents))


LINKS_CUT = Storm("links cut", _cut_all)
"""The one that needs nobody's help."""


async def simulate(
    context: Context,
    wishes: Wishes,
    report: Report,
    *,
    meter: Meter | None = None,
    storms: Sequence[Storm] = (LINKS_CUT,),
    clean: bool = True,
) -> None:
    """Runs all stages; `report` hears of each as it ends. clean: whether what was made is deleted in the end.

    Raises: Exhausted(TOO_FEW_FILES); an ExceptionGroup of DeadlineExceeded(FLEET_NOT_READY) or what the API raises.
    """
    allow_connections(wishes.agents + JOINING_AT_ONCE)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="waypost-simulate-")))
        platform = await stack.enter_async_context(open_platform(context, clean=clean))
        async with asyncio.TaskGroup() as tasks:
            rng = random.Random(wishes.seed)
            fleet, enrolment = Fleet(tasks, wishes.behaviour, rng), Enrolment(context, directory, rng)
            rehearsal = Rehearsal(platform, fleet, enrolment, wishes, meter)
            for stage in rehearsal.stages(storms):
                report(await stage)
            fleet.stop()


class Rehearsal:
    """One run."""

    def __init__(
        self, platform: Platform, fleet: Fleet, enrolment: Enrolment, wishes: Wishes, meter: Meter | None
    ) -> None:
        self._platform = platform
        self._fleet = fleet
        self._enrolment = enrolment
        self._wishes = wishes
        self._meter = meter

    def stages(self, storms: Sequence[Storm]) -> Iterable[Awaitable[Stage]]:
        """Each to be awaited before the next is asked for."""
        wishes = self._wishes
        yield self._stage("enrolment", self._enrol)
        if wishes.model_version:
            yield self._stage("first deployment", lambda: self._deploy(wishes.model_version))
        yield self._stage("steady state", self._rest)
        if wishes.model_version:
            yield self._stage("new token", self._give_token)
        if wishes.then:
            yield self._stage("other version", lambda: self._deploy(wishes.then))
        for storm in storms:
            yield self._storm(storm)

    async def _stage(self, name: str, do: Callable[[], Awaitable[Sequence[float]]]) -> Stage:
        before, began_s = self._read(), _now_s()
        return await self._settled(name, await do(), before, began_s)

    async def _storm(self, storm: Storm) -> Stage:
        before, began_s = self._read(), _now_s()
        sessions = {agent: agent.sessions for agent in self._fleet.agents}
        wait = self._fleet.wait(lambda agent: agent.connected and agent.sessions > sessions[agent])
        meter = await storm.strike(self._fleet.agents)
        if meter is not None:
            self._meter, before = meter, Reading(0.0, 0)
        took_s = await self._fleet.finish(wait, PATIENCE_S, "connected again")
        return await self._settled(storm.name, took_s, before, began_s)

    async def _settled(self, name: str, took_s: Sequence[float], before: Reading | None, began_s: float) -> Stage:
        """The stage, when the control plane has written what is to be written of it."""
        await asyncio.sleep(SETTLE_S)
        lasted_s = _now_s() - began_s
        usage = self._meter.since(before) if self._meter and before else None
        spread = Spread.of(took_s) if took_s else None
        return Stage(name, self._wishes.agents, await self._platform.connected(), lasted_s, spread, usage)

    def _read(self) -> Reading | None:
        return self._meter.read() if self._meter else None

    async def _enrol(self) -> Sequence[float]:
        began_s, agents = _now_s(), self._wishes.agents
        tokens = [
            await self._platform.join_token(min(TOKEN_USES, agents)) for _ in range(math.ceil(agents / TOKEN_USES))
        ]

        async def join(number: int) -> None:
            name = f"{self._platform.run}-{number:05}"
            membership = await self._enrolment.enrol(tokens[number // TOKEN_USES], name)
            self._platform.joined(membership.edge_server)
            self._fleet.start(membership)

        await each(range(agents), join, JOINING_AT_ONCE)
        wait = self._fleet.wait(lambda agent: agent.connected)
        await self._fleet.finish(wait, PATIENCE_S, "connected")
        return [agent.first_welcome_s - began_s for agent in self._fleet.agents]

    async def _deploy(self, version: str) -> Sequence[float]:
        """Until every position serves it, or has refused it."""
        application = names.parent(names.parent(version))
        count = self._wishes.positions_per_agent

        def reached(agent: SimulatedAgent) -> bool:
            told = [position for position in agent.positions.values() if position.version == version]
            return len(told) == count and all(position.settled for position in told)

        async def place(agent: SimulatedAgent) -> None:
            for number in range(count):
                position = f"{application}/positions/{names.leaf(agent.edge_server)}-{number}"
                await self._platform.deploy(position, agent.edge_server, version)

        wait = self._fleet.wait(reached)
        await each(self._fleet.agents, place)
        return await self._fleet.finish(wait, PATIENCE_S, "as their positions' specs say")

    async def _rest(self) -> Sequence[float]:
        await asyncio.sleep(self._wishes.duration_s)
        return ()

    async def _give_token(self) -> Sequence[float]:
        held = {agent: agent.tokens for agent in self._fleet.agents}
        wait = self._fleet.wait(lambda agent: agent.tokens > held[agent])
        version = self._wishes.model_version
        await self._platform.application_token(names.parent(names.parent(version)))
        return await self._fleet.finish(wait, PATIENCE_S, "told of the token")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
