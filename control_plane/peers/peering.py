"""The beat of a control plane among others."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from control_plane.peers.holdings import Holdings
from control_plane.peers.membership import BEAT_S, Membership
from control_plane.store import Stores


class Inheriting(Protocol):
    """What of the fleet is told."""

    async def inherit(self, claims: dict[str, int], holder: str) -> None:
        """`holder` is gone, and had these claims on edge servers."""

    async def let_go(self) -> None:
        """Ends sessions of agents that a peer has admitted since."""


class Calling(Protocol):
    """What of the calls to peers is told."""

    async def keep(self, peers: Collection[str]) -> None:
        """All others, by run, are called no more."""


class Peering:
    """For one task."""

    def __init__(
        self, stores: Stores, membership: Membership, holdings: Holdings, fleet: Inheriting, calls: Calling
    ) -> None:
        self._claims = stores.claims
        self._membership = membership
        self._holdings = holdings
        self._fleet = fleet
        self._calls = calls
        self._gone: set[str] = set()

    async def run(self) -> None:
        """For ever. Raises what the store raises, and may be run again then."""
        while True:
            await asyncio.sleep(BEAT_S)
            await self.look()

    async def look(self) -> None:
        self._gone |= await self._membership.beat()
        await self._calls.keep(self._membership.others)
        await self._holdings.look()
        await self._fleet.let_go()
        for run in sorted(self._gone):
            await self._fleet.inherit(await self._claims.held_by(run), run)
            self._gone.discard(run)
