"""The narrower halves of the simulator's database (database.py): claims, peers, facts, what is said."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from control_plane.store import base

if TYPE_CHECKING:
    from tests.sim.database import Database


class Claims:
    def __init__(self, database: "Database") -> None:
        self._database = database

    async def take(self, name: str, holder: str, *, above: int = 0) -> int:
        await self._database.turn()
        epoch = self._hold(name, holder, above)
        await self._database.after()
        return epoch

    async def take_over(self, seen: Mapping[str, base.Claim | None], holder: str) -> dict[str, int]:
        await self._database.turn()
        free = [name for name, claim in seen.items() if self._database.claims.get(name) == claim]
        taken = {name: self._hold(name, holder, 0) for name in free}
        await self._database.after()
        return taken

    def _hold(self, name: str, holder: str, above: int) -> int:
        epoch = max(self._database.epochs.get(name, 0), above) + 1
        self._database.epochs[name] = epoch
        self._database.claims[name] = base.Claim(name, holder, epoch)
        return epoch

    async def read(self, names: Collection[str]) -> dict[str, base.Claim]:
        await self._database.turn()
        return {name: self._database.claims[name] for name in names if name in self._database.claims}

    async def held_by(self, holder: str) -> dict[str, int]:
        await self._database.turn()
        return {name: claim.epoch for name, claim in self._database.claims.items() if claim.holder == holder}

    async def drop(self, names: Collection[str]) -> None:
        await self._database.turn()
        for name in names:
            self._database.claims.pop(name, None)
        await self._database.after()


class Roster:
    """Peers by id."""

    def __init__(self, database: "Database") -> None:
        self._database = database

    async def join(self, peer: base.Peer) -> None:
        await self._database.turn()
        self._database.peers[peer.id] = peer

    async def beat(self, peer: base.Peer) -> bool:
        await self._database.turn()
        found = self._database.peers.get(peer.id)
        if found is None or found.run != peer.run:
            return False
        self._database.peers[peer.id] = replace(found, beats=found.beats + 1)
        return True

    async def all(self) -> Sequence[base.Peer]:
        await self._database.turn()
        return [peer for _, peer in sorted(self._database.peers.items())]

    async def remove(self, peer: base.Peer) -> bool:
        await self._database.turn()
        found = self._database.peers.get(peer.id)
        if found is None or found.run != peer.run or found.beats > peer.beats:
            return False
        del self._database.peers[peer.id]
        return True


class Facts:
    def __init__(self, database: "Database") -> None:
        self._database = database

    async def keep(self, key: str, value: str) -> str:
        await self._database.turn()
        return self._database.facts.setdefault(key, value)

    async def change(self, key: str, value: str) -> None:
        await self._database.turn()
        self._database.facts[key] = value

    async def read(self, key: str) -> str:
        await self._database.turn()
        return self._database.facts.get(key, "")


class Events:
    def __init__(self, database: "Database") -> None:
        self._database = database

    async def append(self, events: Sequence[base.EventRow]) -> None:
        await self._database.turn()
        kept, keys = self._database.events, self._database.event_keys
        for event in events:
            if not event.key or event.key not in keys:
                keys.add(event.key)
                kept[len(kept) + 1] = event
        await self._database.after()

    async def newest(self, resource: str = "", *, limit: int = 100, before: int = 0) -> Sequence[base.EventRow]:
        await self._database.turn()
        about = [
            base.EventRow(e.time_unix_ms, e.resource, e.reason, e.message, e.source, e.key, id_)
            for id_, e in sorted(self._database.events.items(), reverse=True)
            if (not before or id_ < before)
            and (not resource or e.resource == resource or e.resource.startswith(f"{resource}/"))
        ]
        return about[:limit]


class Audit:
    def __init__(self, database: "Database") -> None:
        self._database = database

    async def append(self, row: base.AuditRow) -> None:
        await self._database.turn()
        self._database.audit.append(replace(row, id=len(self._database.audit) + 1))

    async def newest(self, wanted: base.AuditFilter, *, limit: int = 100, before: int = 0) -> Sequence[base.AuditRow]:
        await self._database.turn()
        rows = [row for row in reversed(self._database.audit) if _is_wanted(row, wanted)]
        return [row for row in rows if not before or row.id < before][:limit]


def _is_wanted(row: base.AuditRow, wanted: base.AuditFilter) -> bool:
    return (
        (not wanted.resource or f"{row.resource}/".startswith(f"{wanted.resource}/"))
        and wanted.subject in ("", row.subject)
        and (not wanted.method or f"/{row.method}".endswith(f"/{wanted.method}"))
        and (row.failed or not wanted.failed_only)
        and row.time_unix_ms >= wanted.since_ms
        and (not wanted.until_ms or row.time_unix_ms < wanted.until_ms)
    )


class Minutes:
    def __init__(self, database: "Database") -> None:
        self._database = database

    async def append(self, rows: Sequence[base.MinuteRow], *, now_s: float, merge: base.Merge) -> None:
        await self._database.turn()
        known = self._database.minutes
        for row in rows:
            key = (row.name, row.minute)
            known[key] = merge(known[key], row.body) if key in known else row.body
        oldest = int(now_s // 60) - 24 * 60
        self._database.minutes = {key: body for key, body in self._database.minutes.items() if key[1] >= oldest}

    async def query(self, name: str, *, since_minute: int, until_minute: int) -> Sequence[base.MinuteRow]:
        await self._database.turn()
        found = sorted((key, body) for key, body in self._database.minutes.items() if key[0] == name)
        return [base.MinuteRow(*key, body) for key, body in found if since_minute <= key[1] < until_minute]
