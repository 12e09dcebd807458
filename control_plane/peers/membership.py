"""Which control planes there are, and our own sign of life among theirs."""

import asyncio
from collections.abc import Mapping

import structlog

from control_plane.peers.liveness import Liveness
from control_plane.store import Peer, Stores
from waypost.errors import Precondition

log = structlog.get_logger()

BEAT_S = 2.0  # one small write per control plane
LEASE_S = 10.0  # five beats: a stalled disk or a busy minute is no death. Agents do not wait for it, work does
GAP_S = 2.5 * BEAT_S


class Membership:
    """`open` first; then `beat` every BEAT_S; `close` last. On a store that is not shared there is nobody else."""

    def __init__(self, stores: Stores, me: Peer) -> None:
        self._roster = stores.roster
        self._is_shared = stores.is_shared
        self.me = me
        self._others: dict[str, Peer] = {}
        self._liveness = Liveness(LEASE_S, GAP_S)

    @property
    def others(self) -> Mapping[str, Peer]:
        """Those that live, by run."""
        return self._others

    def lives(self, run: str) -> bool:
        return run == self.me.run or run in self._others

    async def open(self) -> None:
        if self._is_shared:
            await self._roster.join(self.me)
            await self._look()

    async def beat(self) -> frozenset[str]:
        """Says that we live, and looks who else does; returns the runs that are gone since the last look.

        Raises: Precondition(DATA_DIR_COPIED) where another process has taken our place in the list.
        """
        if not await self._roster.beat(self.me):
            await self._join_again()
        return await self._look()

    async def close(self) -> None:
        """Leaves the list: whoever is left need not wait for the lease."""
        if self._is_shared:
            for row in await self._roster.all():
                if row.run == self.me.run:
                    await self._roster.remove(row)

    async def _look(self) -> frozenset[str]:
        """Those that are silent for a lease lose their row, unless they speak in this very moment."""
        rows = {row.run: row for row in await self._roster.all() if row.run != self.me.run}
        for run in self._liveness.look(rows.values(), asyncio.get_running_loop().time()):
            if await self._roster.remove(rows[run]):
                log.warning("peer_lost", peer=rows[run].address, lease_s=LEASE_S)
                del rows[run]
        gone = frozenset(self._others.keys() - rows.keys())
        for run in rows.keys() - self._others.keys():
            log.info("peer_found", peer=rows[run].address, version=rows[run].version)
        self._others = rows
        return gone

    async def _join_again(self) -> None:
        """Our row was taken away while we were silent, or by a second process with our id."""
        if any(row.id == self.me.id for row in await self._roster.all()):
            raise Precondition(
                "DATA_DIR_COPIED",
                "another control plane runs on this store with a copy of our data directory",
                "remove control-plane.id from one of the two, and start that one again",
            )
        log.warning("given_up_by_peers", lease_s=LEASE_S)
        await self._roster.join(self.me)
