"""A gateway in memory: takes tables, carries nothing. It does as it is told, also what goes wrong.

As with a real one, a table that it was given becomes live although the agent that gave it may be killed meanwhile.
"""

import asyncio
from collections.abc import Callable

from edge_agent.gateways.base import Applied
from edge_agent.gateways.routes import RouteTable, check
from waypost.errors import MeshError, Precondition, Unavailable


class FakeGateway:
    """Knobs may be turned at any time."""

    name = "fake"

    def __init__(self, *, address: str = "http://127.0.0.1:7680", ack_delay_s: float = 0.0) -> None:
        self.address = address
        self.ack_delay_s = ack_delay_s
        """How long a table takes to become live."""
        self.refuse: MeshError | None = None
        """What the next tables, and a start, end in."""
        self.applied: list[RouteTable] = []
        """Every table that became live, oldest first."""
        self._running = False
        self._next: tuple[RouteTable, asyncio.Future[None]] | None = None
        """What was given and is not live yet; a newer one takes its place."""

    def later(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        """What the gateway will do by itself. A simulator overrides this, so that it outlives the agent."""
        asyncio.get_running_loop().call_later(delay_s, act, *arguments)

    @property
    def table(self) -> RouteTable | None:
        """What is live."""
        return self.applied[-1] if self._running and self.applied else None

    async def version(self) -> str:
        return "fake 1"

    async def start(self) -> None:
        if self.refuse:
            raise self.refuse
        self._running = True

    async def apply(self, table: RouteTable) -> Applied:
        if faults := check(table):
            raise Precondition("BAD_ROUTES", f"the route table cannot be used: {'; '.join(faults)}")
        if self.table and self.table.hash == table.hash:
            self._next = None
            return Applied(table.hash, changed=False)
        await self.start()
        self._next = table, asyncio.get_running_loop().create_future()
        self.later(self.ack_delay_s, self._go_live, self._next)
        await self._next[1]
        return Applied(table.hash, changed=True)

    async def current(self) -> str | None:
        return self.table.hash if self.table else None

    async def stop(self, *, grace_s: float) -> bool:
        ran = self._running
        self.die()
        return ran

    def die(self) -> None:
        """As by kill -9."""
        self._running = False
        self.applied.clear()
        if self._next is not None and not self._next[1].done():
            self._next[1].set_exception(Unavailable("GATEWAY_FAILED", "the gateway was killed"))
            self._next[1].exception()  # heard, though whoever waits may be no more
        self._next = None

    def _go_live(self, given: tuple[RouteTable, asyncio.Future[None]]) -> None:
        if self._next is not given:
            return
        self._next = None
        self.applied.append(given[0])
        if not given[1].done():
            given[1].set_result(None)
