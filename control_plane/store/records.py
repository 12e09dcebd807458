"""`Store` over SQLAlchemy Core.

A commit first takes the next revision by updating one row. That row stays locked until the transaction ends, so
commits happen in the order of their revisions, and a reader who sees revision n has seen all below it. From then on
what was expected can be checked without a race.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.gathering import Gathered
from control_plane.store.base import (
    COMMIT_CHANGES_MAX,
    SCAN_LIMIT,
    UNCONDITIONAL,
    Changes,
    Delete,
    Page,
    Put,
    Record,
    RevisionConflict,
    Tombstone,
    TooOld,
)
from control_plane.store.database import Database, uninterrupted
from control_plane.store.schema import COMPACTED, REVISION, counters, records, tombstones
from control_plane.store.statements import batches, upsert, within
from control_plane.store.text import is_key, key
from control_plane.store.wake import Wake

TOMBSTONES_MAX = 10_000  # half a megabyte; a watcher that slept through so many deletions reads everything again
READ_AT_ONCE = 500  # by callers that come together
CHANGES_MAX = 2 * COMMIT_CHANGES_MAX  # rows per `changes`; above one commit's, so that each call gets further


class SqlStore:
    """See `base.Store`."""

    def __init__(self, database: Database, incarnation: str, wake: Wake) -> None:
        self._database = database
        self._incarnation = incarnation
        self._wake = wake
        self._read_one = Gathered(self._read_each, READ_AT_ONCE)
        self._read_changes = Gathered(self._changes_each, READ_AT_ONCE)

    @property
    def incarnation(self) -> str:
        return self._incarnation

    @uninterrupted
    async def revision(self) -> int:
        async with self._database.read() as connection:
            return await counter(connection, REVISION)

    async def read(self, name: str) -> Record | None:
        return await self._read_one(name) if is_key(name) else None

    async def _read_each(self, asked: Sequence[str]) -> Sequence[Record | None]:
        found = await self.read_many(set(asked))
        return [found.get(name) for name in asked]

    @uninterrupted
    async def read_many(self, names: Collection[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        async with self._database.read() as connection:
            for batch in batches(filter(is_key, names)):
                rows = await connection.execute(select(records).where(records.c.name.in_(batch)))
                found.update((row["name"], _record(row)) for row in rows.mappings())
        return found

    @uninterrupted
    async def scan(self, prefix: str, *, kind: str = "", limit: int = SCAN_LIMIT, after: str = "") -> Page:
        if not is_key(prefix):
            return Page((), "")
        wanted = select(records).where(within(records.c.name, prefix), records.c.name > after)
        if kind:
            wanted = wanted.where(records.c.kind == kind)
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted.order_by(records.c.name).limit(limit + 1))).mappings().all()
        page = tuple(_record(row) for row in rows[:limit])
        return Page(page, page[-1].name if len(rows) > limit else "")

    @uninterrupted
    async def commit(
        self,
        changes: Sequence[Put | Delete],
        *,
        expect: Mapping[str, int] = UNCONDITIONAL,
        unchanged_since: int | None = None,
    ) -> int:
        assert 0 < len(changes) <= COMMIT_CHANGES_MAX, f"a commit of {len(changes)} changes"
        assert len({key(change.name) for change in changes}) == len(changes), "one change per name"
        async with self._database.write() as connection:
            revision = await take(connection, REVISION)
            if unchanged_since is not None and revision != unchanged_since + 1:
                raise RevisionConflict("the store", unchanged_since, revision - 1)
            await _check(connection, expect)
            await _put(connection, [change for change in changes if isinstance(change, Put)], revision)
            await _delete(connection, [change.name for change in changes if isinstance(change, Delete)], revision)
            await notify(connection, self._database)
        self._wake.rise(revision)
        return revision

    async def changes(self, since: int) -> Changes:
        found = await self._read_changes(since)
        if isinstance(found, TooOld):
            raise found
        return found

    async def _changes_each(self, asked: Sequence[int]) -> Sequence[Changes | TooOld]:
        """Whoever follows the store is woken by the same commit, and has come as far as the others."""
        found = {since: await self._changes(since) for since in sorted(set(asked))}
        return [found[since] for since in asked]

    @uninterrupted
    async def _changes(self, since: int) -> Changes | TooOld:
        async with self._database.read() as connection:
            newest = await counter(connection, REVISION)
            changed = await _between(connection, records, since, newest)
            deleted = await _between(connection, tombstones, since, newest)
            compacted = await counter(connection, COMPACTED)  # last: pruning in between must not hide deletions
        if since < compacted:
            return TooOld(since, compacted)
        upto = min(newest, _horizon(changed, newest), _horizon(deleted, newest))
        return Changes(
            upto,
            tuple(_record(row) for row in changed if row["revision"] <= upto),
            tuple(Tombstone(**row) for row in deleted if row["revision"] <= upto),
        )

    async def watch(self, since: int) -> AsyncIterator[int]:
        while True:
            since = await self._wake.beyond(since)
            yield since


def _record(row: RowMapping) -> Record:
    return Record(row["name"], row["kind"], row["revision"], row["body"])


async def counter(connection: AsyncConnection, name: str) -> int:
    return int(await connection.scalar(select(counters.c.value).where(counters.c.name == name)) or 0)


async def take(connection: AsyncConnection, name: str, by: int = 1) -> int:
    """The counter's value after adding `by`; its row stays locked until the transaction ends."""
    statement = upsert(connection, counters, ["name"], add="value").returning(counters.c.value)
    return int((await connection.execute(statement, {"name": name, "value": by})).scalar_one())


async def lock(connection: AsyncConnection, name: str) -> None:
    """Locks the counter's row until the transaction ends. On SQLite the transaction is the lock already."""
    await connection.execute(select(counters.c.value).where(counters.c.name == name).with_for_update())


async def notify(connection: AsyncConnection, database: Database) -> None:
    """Tells other processes that there is something new; heard when the transaction commits."""
    if not database.is_sqlite:
        await connection.execute(select(func.pg_notify("waypost", "")))


async def _check(connection: AsyncConnection, expect: Mapping[str, int]) -> None:
    actual: dict[str, int] = {}
    for batch in batches(filter(is_key, expect)):
        rows = await connection.execute(select(records.c.name, records.c.revision).where(records.c.name.in_(batch)))
        actual.update((row.name, row.revision) for row in rows)
    for name, expected in expect.items():
        if actual.get(name, 0) != expected:
            raise RevisionConflict(name, expected, actual.get(name, 0))


async def _put(connection: AsyncConnection, puts: Sequence[Put], revision: int) -> None:
    if not puts:
        return
    rows = [{"name": put.name, "kind": put.kind, "revision": revision, "body": put.body} for put in puts]
    await connection.execute(upsert(connection, records, ["name"]), rows)
    for batch in batches([put.name for put in puts]):
        await connection.execute(delete(tombstones).where(tombstones.c.name.in_(batch)))


async def _delete(connection: AsyncConnection, names: Sequence[str], revision: int) -> None:
    for batch in batches(names):
        going = select(records.c.name, records.c.kind).where(records.c.name.in_(batch))
        rows = [{**row, "revision": revision} for row in (await connection.execute(going)).mappings()]
        if rows:
            await connection.execute(insert(tombstones), rows)
            await connection.execute(delete(records).where(records.c.name.in_(batch)))
    if names:
        await _prune(connection)


async def _prune(connection: AsyncConnection) -> None:
    """Forgets the oldest tombstones beyond TOMBSTONES_MAX, whole commits at a time."""
    newest_first = select(tombstones.c.revision).order_by(tombstones.c.revision.desc())
    oldest = await connection.scalar(newest_first.offset(TOMBSTONES_MAX).limit(1))
    if oldest is not None:
        await connection.execute(delete(tombstones).where(tombstones.c.revision <= oldest))
        await connection.execute(update(counters).where(counters.c.name == COMPACTED).values(value=oldest))


async def _between(connection: AsyncConnection, table: Any, since: int, upto: int) -> Sequence[RowMapping]:
    """At most CHANGES_MAX + 1 rows, oldest first."""
    wanted = select(table).where(table.c.revision > since, table.c.revision <= upto)
    return (await connection.execute(wanted.order_by(table.c.revision).limit(CHANGES_MAX + 1))).mappings().all()


def _horizon(rows: Sequence[RowMapping], newest: int) -> int:
    """How far `rows` are complete: a commit cut in two by the limit is left for the next call."""
    return newest if len(rows) <= CHANGES_MAX else int(rows[-1]["revision"]) - 1
