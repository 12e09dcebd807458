"""`ObservedStore` and `Counters` over SQLAlchemy Core."""

from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import RowMapping, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.store.base import Fence, ObservedChanges, ObservedRow
from control_plane.store.claims import epochs
from control_plane.store.database import Database, uninterrupted
from control_plane.store.records import counter, lock, notify, take
from control_plane.store.schema import OBSERVED, observed
from control_plane.store.statements import batches, upsert, within
from control_plane.store.wake import Wake

CHANGES_MAX = 1000  # rows per `changes`; a put of more rows than this is split, so that each call gets further
TOMBSTONES_MAX = 10_000  # watchers are moments behind, not hours
_EXISTS = observed.c.body.is_not(None)


class SqlObserved:
    """See `base.ObservedStore`."""

    def __init__(self, database: Database, wake: Wake) -> None:
        self._database = database
        self._wake = wake

    async def put(self, rows: Sequence[ObservedRow]) -> None:
        newest = {(row.kind, row.name): row for row in rows}  # the last of several about one thing counts
        for start in range(0, len(newest), CHANGES_MAX):
            await self._put(list(newest.values())[start : start + CHANGES_MAX])

    @uninterrupted
    async def _put(self, rows: Sequence[ObservedRow]) -> None:
        async with self._database.write() as connection:
            await lock(connection, OBSERVED)
            rows = await _still_theirs(connection, rows)
            stored: dict[tuple[str, str], bytes] = {}
            for batch in batches({row.name for row in rows}):
                found = await connection.execute(select(observed).where(observed.c.name.in_(batch)))
                stored.update(((row.kind, row.name), row.body) for row in found)
            fresh = [row for row in rows if stored.get((row.kind, row.name)) != row.body]
            if not fresh:
                return
            sequence = await take(connection, OBSERVED)
            values = [{"kind": r.kind, "name": r.name, "sequence": sequence, "body": r.body} for r in fresh]
            await connection.execute(upsert(connection, observed, ["kind", "name"]), values)
            await notify(connection, self._database)
        self._wake.rise(sequence)

    @uninterrupted
    async def delete(self, kind: str, names: Collection[str], *, fence: Fence | None = None) -> None:
        async with self._database.write() as connection:
            await lock(connection, OBSERVED)
            if fence and (await epochs(connection, [fence.claim])).get(fence.claim) != fence.epoch:
                return
            going: list[str] = []
            for batch in batches(names):
                wanted = select(observed.c.name).where(observed.c.kind == kind, observed.c.name.in_(batch), _EXISTS)
                going.extend((await connection.scalars(wanted)).all())
            if not going:
                return
            sequence = await take(connection, OBSERVED)
            for batch in batches(going):
                rows = update(observed).where(observed.c.kind == kind, observed.c.name.in_(batch))
                await connection.execute(rows.values(body=None, sequence=sequence))
            await _prune(connection)
            await notify(connection, self._database)
        self._wake.rise(sequence)

    @uninterrupted
    async def read(self, kind: str, names: Collection[str]) -> dict[str, bytes]:
        bodies: dict[str, bytes] = {}
        async with self._database.read() as connection:
            for batch in batches(names):
                wanted = select(observed).where(observed.c.kind == kind, observed.c.name.in_(batch), _EXISTS)
                bodies.update((row.name, row.body) for row in await connection.execute(wanted))
        return bodies

    @uninterrupted
    async def scan(self, kind: str, prefix: str = "") -> Sequence[ObservedRow]:
        wanted = select(observed).where(observed.c.kind == kind, within(observed.c.name, prefix), _EXISTS)
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted.order_by(observed.c.name))).mappings().all()
        return [_row(row) for row in rows]

    @uninterrupted
    async def sequence(self) -> int:
        async with self._database.read() as connection:
            return await counter(connection, OBSERVED)

    @uninterrupted
    async def changes(self, since: int) -> ObservedChanges:
        async with self._database.read() as connection:
            newest = await counter(connection, OBSERVED)
            wanted = select(observed).where(observed.c.sequence > since, observed.c.sequence <= newest)
            ordered = wanted.order_by(observed.c.sequence).limit(2 * CHANGES_MAX)
            rows = (await connection.execute(ordered)).mappings().all()
        upto = newest if len(rows) < 2 * CHANGES_MAX else int(rows[-1]["sequence"]) - 1
        complete = [row for row in rows if row["sequence"] <= upto]
        return ObservedChanges(
            upto,
            tuple(_row(row) for row in complete if row["body"] is not None),
            tuple((row["kind"], row["name"]) for row in complete if row["body"] is None),
        )

    async def watch(self, since: int) -> AsyncIterator[int]:
        while True:
            since = await self._wake.beyond(since)
            yield since


async def _still_theirs(connection: AsyncConnection, rows: Sequence[ObservedRow]) -> Sequence[ObservedRow]:
    """Without rows of writers who were overtaken.

    Whoever takes a claim while this transaction is under way writes after it: the lock on OBSERVED sees to that.
    """
    fences = {row.fence.claim for row in rows if row.fence}
    if not fences:
        return rows
    now = await epochs(connection, fences)
    return [row for row in rows if not row.fence or now.get(row.fence.claim) == row.fence.epoch]


async def _prune(connection: AsyncConnection) -> None:
    """Forgets the oldest deletions beyond TOMBSTONES_MAX."""
    newest_first = select(observed.c.sequence).where(~_EXISTS).order_by(observed.c.sequence.desc())
    oldest = await connection.scalar(newest_first.offset(TOMBSTONES_MAX).limit(1))
    if oldest is not None:
        await connection.execute(delete(observed).where(~_EXISTS, observed.c.sequence <= oldest))


def _row(row: RowMapping) -> ObservedRow:
    return ObservedRow(row["kind"], row["name"], row["body"])


class SqlCounters:
    """See `base.Counters`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def take(self, counter: str) -> int:
        async with self._database.write() as connection:
            return await take(connection, f"user/{counter}")
