"""A database server in memory that several control planes share, and that can be slow, busy or away.

It keeps the promises of control_plane/store/base.py (its suite runs on it), in virtual time: every method takes a
moment before and a moment after it takes effect at once, as a whole. A process may therefore die having written and
not knowing it. What each process knows to be newest is its own, and commits of others reach it by looking, as they do
through the real stores. Nothing is ever forgotten: no run is long enough.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace

from control_plane.store import base
from control_plane.store.open import POLL_S, Stores
from control_plane.store.wake import Bell, Wake
from tests.sim import tables
from tests.sim.processes import writing
from waypost.errors import Unavailable

FIRST_INCARNATION = "store-1"
SAVED = (
    *("revision", "records", "tombstones", "sequence", "observed", "epochs"),
    *("events", "event_keys", "audit", "minutes", "facts"),
)


@dataclass
class Database:
    """committed: called with the changes of each commit and its revision. observes: with the names of observed rows."""

    rng: random.Random
    incarnation: str = FIRST_INCARNATION
    slow_s: float = 0.005
    """The longest moment that a method takes before and after."""
    busy: float = 0.0
    """Chance that a method is refused."""
    committed: Callable[[Sequence[base.Put | base.Delete], int], None] = lambda changes, revision: None
    observes: Callable[[Iterable[str]], None] = lambda names: None
    revision: int = 0
    records: dict[str, base.Record] = field(default_factory=dict)
    tombstones: dict[str, base.Tombstone] = field(default_factory=dict)
    sequence: int = 0
    observed: dict[tuple[str, str], tuple[int, bytes | None]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    events: dict[int, base.EventRow] = field(default_factory=dict)
    event_keys: set[str] = field(default_factory=set)
    audit: list[base.AuditRow] = field(default_factory=list)
    minutes: dict[tuple[str, int], bytes] = field(default_factory=dict)
    claims: dict[str, base.Claim] = field(default_factory=dict)
    peers: dict[str, base.Peer] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    is_shared: bool = False

    def backup(self) -> "Database":
        """What control_plane.backups saves, as of now: everything that does not tell of processes."""
        return replace(self, **{name: copy(getattr(self, name)) for name in SAVED})

    def restore(self, saved: "Database", incarnation: str) -> None:
        """Becomes what was saved, as another store. Nobody may have it open."""
        for name in SAVED:
            setattr(self, name, copy(getattr(saved, name)))
        self.claims, self.peers = {}, {}
        self.incarnation = incarnation

    async def turn(self) -> None:
        """Before and after a method's effect. Raises: Unavailable(STORE_BUSY)."""
        if self.rng.random() < self.busy:
            raise Unavailable("STORE_BUSY", "the store is locked by somebody else", "try again in a moment")
        writing()
        if self.slow_s:
            await asyncio.sleep(self.rng.uniform(0, self.slow_s))

    async def after(self) -> None:
        writing()
        if self.slow_s:
            await asyncio.sleep(self.rng.uniform(0, self.slow_s))

    def open(self) -> Stores:
        """For one process."""
        news = _News(self)
        return Stores(
            records=_Records(self, news),
            observed=_Observed(self, news),
            events=tables.Events(self),
            audit=tables.Audit(self),
            minutes=tables.Minutes(self),
            claims=tables.Claims(self),
            roster=tables.Roster(self),
            facts=tables.Facts(self),
            is_shared=self.is_shared,
            restored_from=None,
            token_key=bytes(32),
            _news=news,  # type: ignore[arg-type]
        )

    def apply(self, changes: Sequence[base.Put | base.Delete]) -> int:
        """All of them, at once; returns the new revision."""
        self.revision += 1
        for change in changes:
            if isinstance(change, base.Put):
                self.records[change.name] = base.Record(change.name, change.kind, self.revision, change.body)
                self.tombstones.pop(change.name, None)
            elif (gone := self.records.pop(change.name, None)) is not None:
                self.tombstones[change.name] = base.Tombstone(change.name, gone.kind, self.revision)
        self.committed(changes, self.revision)
        return self.revision

    def overtaken(self, fence: base.Fence | None) -> bool:
        claim = self.claims.get(fence.claim) if fence else None
        return fence is not None and (claim is None or claim.epoch != fence.epoch)


class _News:
    """What one process knows to be newest (control_plane.store.open._News)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.bell = Bell()
        self.revisions = Wake(database.revision, self.bell)
        self.sequences = Wake(database.sequence, self.bell)

    async def follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self.revisions.rise(self._database.revision)
            self.sequences.rise(self._database.sequence)


class _Records:
    def __init__(self, database: Database, news: _News) -> None:
        self._database, self._news = database, news

    @property
    def incarnation(self) -> str:
        return self._database.incarnation

    async def revision(self) -> int:
        await self._database.turn()
        return self._database.revision

    async def read(self, name: str) -> base.Record | None:
        return (await self.read_many((name,))).get(name)

    async def read_many(self, names: Collection[str]) -> dict[str, base.Record]:
        await self._database.turn()
        return {name: self._database.records[name] for name in names if name in self._database.records}

    async def scan(self, prefix: str, *, kind: str = "", limit: int = base.SCAN_LIMIT, after: str = "") -> base.Page:
        await self._database.turn()
        found = [
            record
            for name, record in sorted(self._database.records.items())
            if name.startswith(prefix) and name > after and kind in ("", record.kind)
        ]
        page = tuple(found[:limit])
        return base.Page(page, page[-1].name if len(found) > limit else "")

    async def commit(
        self,
        changes: Sequence[base.Put | base.Delete],
        *,
        expect: Mapping[str, int] = base.UNCONDITIONAL,
        unchanged_since: int | None = None,
    ) -> int:
        assert 0 < len(changes) <= base.COMMIT_CHANGES_MAX
        assert len({change.name for change in changes}) == len(changes)
        await self._database.turn()
        self._check(expect, unchanged_since)
        revision = self._database.apply(changes)
        await self._database.after()
        self._news.revisions.rise(revision)
        return revision

    def _check(self, expect: Mapping[str, int], unchanged_since: int | None) -> None:
        database = self._database
        if unchanged_since is not None and database.revision != unchanged_since:
            raise base.RevisionConflict("the store", unchanged_since, database.revision)
        for name, expected in expect.items():
            actual = database.records[name].revision if name in database.records else 0
            if actual != expected:
                raise base.RevisionConflict(name, expected, actual)

    async def changes(self, since: int) -> base.Changes:
        await self._database.turn()
        database = self._database
        changed = sorted((r for r in database.records.values() if r.revision > since), key=lambda r: r.revision)
        deleted = sorted((t for t in database.tombstones.values() if t.revision > since), key=lambda t: t.revision)
        return base.Changes(database.revision, tuple(changed), tuple(deleted))

    async def watch(self, since: int) -> AsyncIterator[int]:
        while True:
            since = await self._news.revisions.beyond(since)
            yield since


class _Observed:
    def __init__(self, database: Database, news: _News) -> None:
        self._database, self._news = database, news

    async def put(self, rows: Sequence[base.ObservedRow]) -> None:
        newest = {(row.kind, row.name): row for row in rows}
        await self._change({key: (row.body, row.fence) for key, row in newest.items()})

    async def delete(self, kind: str, names: Collection[str], *, fence: base.Fence | None = None) -> None:
        there = [name for name in names if self._database.observed.get((kind, name), (0, None))[1] is not None]
        await self._change({(kind, name): (None, fence) for name in there})

    async def _change(self, bodies: Mapping[tuple[str, str], tuple[bytes | None, base.Fence | None]]) -> None:
        database = self._database
        await database.turn()
        fresh = {
            key: body
            for key, (body, fence) in bodies.items()
            if not database.overtaken(fence) and database.observed.get(key, (0, None))[1] != body
        }
        if fresh:
            database.sequence += 1
            database.observes(name for _, name in fresh)
            database.observed.update({key: (database.sequence, body) for key, body in fresh.items()})
            await database.after()
            self._news.sequences.rise(database.sequence)

    async def read(self, kind: str, names: Collection[str]) -> dict[str, bytes]:
        await self._database.turn()
        rows = {name: self._database.observed.get((kind, name), (0, None))[1] for name in names}
        return {name: body for name, body in rows.items() if body is not None}

    async def scan(self, kind: str, prefix: str = "") -> Sequence[base.ObservedRow]:
        await self._database.turn()
        rows = sorted(self._database.observed.items())
        return [
            base.ObservedRow(*key, body)
            for key, (_, body) in rows
            if key[0] == kind and key[1].startswith(prefix) and body is not None
        ]

    async def sequence(self) -> int:
        await self._database.turn()
        return self._database.sequence

    async def changes(self, since: int) -> base.ObservedChanges:
        await self._database.turn()
        rows = sorted((n, key, body) for key, (n, body) in self._database.observed.items() if n > since)
        return base.ObservedChanges(
            self._database.sequence,
            tuple(base.ObservedRow(*key, body) for _, key, body in rows if body is not None),
            tuple(key for _, key, body in rows if body is None),
        )

    async def watch(self, since: int) -> AsyncIterator[int]:
        while True:
            since = await self._news.sequences.beyond(since)
            yield since
