"""Observed rows on their way to the store: changes at once, mere figures at a measured pace.

A row is given with its *essence*, the part of it whose change somebody waits for. Another essence is written before
`put` returns; the same essence with other figures is kept, the newest only, and written by `run` within PACE_S. So is
what the store could not take at once. Under a new fence everything is written anew: others may have written meanwhile.
"""

import asyncio
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from control_plane.store import Fence, ObservedRow, ObservedStore
from waypost.errors import MeshError

_Key = tuple[str, str]  # kind, name

PACE_S = 1.0  # a write costs the disk a sync; nobody reads figures faster than this


@dataclass(frozen=True, slots=True)
class Observation:
    """A row, and what of it must be known at once."""

    row: ObservedRow
    essence: bytes


class Rows:
    """The one writer of the rows that come from agents."""

    def __init__(self, observed: ObservedStore) -> None:
        self._observed = observed
        self._written: dict[_Key, tuple[Fence | None, bytes]] = {}  # digests of essences, and written as whom
        self._waiting: dict[_Key, ObservedRow] = {}

    async def put(self, observations: Iterable[Observation]) -> None:
        """Newest wins. Raises what the store raises."""
        now: dict[_Key, ObservedRow] = {}
        for observation in observations:
            key = (observation.row.kind, observation.row.name)
            written = (observation.row.fence, hashlib.sha256(observation.essence).digest())
            if self._written.get(key) == written:
                self._waiting[key] = observation.row
            else:
                self._waiting.pop(key, None)
                self._written[key] = written
                now[key] = observation.row
        if now:
            await self._write(now)

    async def delete(self, kind: str, names: Collection[str], *, fence: Fence | None = None) -> None:
        for name in names:
            self._written.pop((kind, name), None)
            self._waiting.pop((kind, name), None)
        await self._observed.delete(kind, names, fence=fence)

    async def run(self) -> None:
        """Writes what waits; for ever."""
        while True:
            await asyncio.sleep(PACE_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits now. Raises what the store raises."""
        waiting, self._waiting = self._waiting, {}
        if waiting:
            await self._write(waiting)

    async def _write(self, rows: dict[_Key, ObservedRow]) -> None:
        before = {key: self._written.get(key) for key in rows}
        try:
            await self._observed.put(list(rows.values()))
        except MeshError:
            still = {key: row for key, row in rows.items() if self._written.get(key) is before[key]}
            self._waiting = still | self._waiting
            raise
