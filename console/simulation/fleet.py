"""All simulated agents of one run, and waiting until each has got somewhere."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from console.simulation.agent import SimulatedAgent
from console.simulation.enrolment import Membership
from console.simulation.positions import Behaviour
from waypost.errors import DeadlineExceeded

DIALS_AT_ONCE = 64
"""Real agents have a processor each; here all handshakes share one, and thousands at once would all end too late."""

Reached = Callable[[SimulatedAgent], bool]


class Fleet:
    """tasks: where the agents live; cancel them with `stop`. rng: for the luck of all of them."""

    def __init__(self, tasks: asyncio.TaskGroup, behaviour: Behaviour, rng: random.Random) -> None:
        self.agents: list[SimulatedAgent] = []
        self._tasks = tasks
        self._behaviour = behaviour
        self._rng = rng
        self._dialling = asyncio.Semaphore(DIALS_AT_ONCE)
        self._running: list[asyncio.Task[None]] = []
        self._waits: set[Wait] = set()

    def start(self, membership: Membership) -> SimulatedAgent:
        """One more agent, dialling from now on."""
        agent = SimulatedAgent(
            membership, self._behaviour, random.Random(self._rng.random()), self._look, self._dialling
        )
        self.agents.append(agent)
        self._running.append(self._tasks.create_task(agent.run(), name=f"agent-{agent.edge_server}"))
        return agent

    def stop(self) -> None:
        for task in self._running:
            task.cancel()

    def wait(self, reached: Reached, agents: Iterable[SimulatedAgent] | None = None) -> "Wait":
        """Begins to wait for all agents, or for these."""
        wait = Wait(self.agents if agents is None else agents, reached)
        self._waits.add(wait)
        return wait

    async def finish(self, wait: "Wait", within_s: float, what: str) -> Sequence[float]:
        """Seconds that each agent took. Raises: DeadlineExceeded(FLEET_NOT_READY)."""
        try:
            async with asyncio.timeout(within_s):
                await wait.over.wait()
        except TimeoutError as error:
            late, first = len(wait.pending), min(agent.edge_server for agent in wait.pending)
            message = f"{late} of {len(self.agents)} agents are not {what} after {within_s:g} s, {first} among them"
            raise DeadlineExceeded(
                "FLEET_NOT_READY", message, "simulate fewer agents, or look at the control plane's log"
            ) from error
        finally:
            self._waits.discard(wait)
        return wait.took_s

    def _look(self, agent: SimulatedAgent) -> None:
        for wait in self._waits:
            wait.look(agent)


class Wait:
    """Who of some agents has not got there yet. Begins with the moment it is made."""

    def __init__(self, agents: Iterable[SimulatedAgent], reached: Reached) -> None:
        self.took_s: list[float] = []
        self.over = asyncio.Event()
        self._reached = reached
        self._began_s = asyncio.get_running_loop().time()
        self.pending = set(agents)
        for agent in list(self.pending):
            self.look(agent)
        if not self.pending:
            self.over.set()

    def look(self, agent: SimulatedAgent) -> None:
        if agent in self.pending and self._reached(agent):
            self.pending.discard(agent)
            self.took_s.append(asyncio.get_running_loop().time() - self._began_s)
            if not self.pending:
                self.over.set()
