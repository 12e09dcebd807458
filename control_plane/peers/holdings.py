"""Work that one control plane does at a time: it is ours while we hold its claim.

Whoever wants a claim takes it as soon as nobody living holds it; of several who try at once, the store lets one. The
first to come has it until it ends: work is not spread evenly, and none of it is heavy.
"""

import asyncio
from collections.abc import AsyncIterator, Collection

from control_plane.peers.membership import Membership
from control_plane.store import Claims, Fence
from control_plane.store.wake import Bell


class Holdings:
    """`look` whenever somebody may have gone."""

    def __init__(self, claims: Claims, membership: Membership) -> None:
        self._claims = claims
        self._membership = membership
        self._wanted: frozenset[str] = frozenset()
        self._held: dict[str, int] = {}
        self._turn = asyncio.Lock()
        self._bell = Bell()
        self.version = 0
        """Rises when other claims are ours than before, or the same under other numbers."""

    def holds(self, claim: str) -> bool:
        return claim in self._held

    def fence(self, claim: str) -> Fence | None:
        """For what is written under the claim; None where it is not ours."""
        return Fence(claim, self._held[claim]) if claim in self._held else None

    async def want(self, claims: Collection[str]) -> None:
        """These and no others; what they were for is no more where they were wanted before."""
        dropped, self._wanted = self._wanted - frozenset(claims), frozenset(claims)
        if dropped:
            await self._claims.drop(dropped)
        await self.look()

    async def look(self) -> None:
        """Takes what is free, and lets go of what was taken from us."""
        async with self._turn:
            held = await self._look()
            if held != self._held:
                self._held, self.version = held, self.version + 1
                self._bell.ring()

    async def changes(self) -> AsyncIterator[None]:
        """Yields when `version` has risen."""
        while True:
            await self._bell.wait()
            yield

    async def _look(self) -> dict[str, int]:
        own, found = self._membership.me.run, await self._claims.read(self._wanted)
        held = {claim.name: claim.epoch for claim in found.values() if claim.holder == own}
        living = {claim.name for claim in found.values() if self._membership.lives(claim.holder)}
        if free := {name: found.get(name) for name in self._wanted - living}:
            held.update(await self._claims.take_over(free, own))
        return held
