"""A gateway in memory: takes tables, carries nothing. It does as it is told, also what goes wrong."""

import asyncio

from edge_agent.gateways.base import Applied
from edge_agent.gateways.routes import RouteTable, check
from waypost.errors import MeshError, Precondition


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
            return Applied(table.hash, changed=False)
        await self.start()
        await asyncio.sleep(self.ack_delay_s)
        self.applied.append(table)
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
