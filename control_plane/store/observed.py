"""`ObservedStore` over SQLAlchemy Core."""

from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import RowMapping, delete, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.gathering import Gathered
from control_plane.store.base import Fence, ObservedChanges, ObservedRow
from control_plane.store.claims import epochs
from control_plane.store.database import Database, uninterrupted
from control_plane.store.records import counter, lock, notify, take
from control_plane.store.schema import OBSERVED, observed
from control_plane.store.statements import batches, upsert, within
from control_plane.store.text import is_key, key
from control_plane.store.wake import Wake

CHANGES_MAX = 1000  # rows per `changes`; a put of more rows than this is split, so that each call gets further
TOMBSTONES_MAX = 10_000  # watchers are moments behind, not hours
ASKED_AT_ONCE = 500  # by callers that come together: one transaction of some ten milliseconds
SCANNED_AT_ONCE = 50  # ranges in one statement
_EXISTS = observed.c.body.is_not(None)


_Told = tuple[str, str, bytes | None, Fence | None]
"""Kind, name, body (None: it is no more) and who says so."""


class SqlObserved:
    """See `base.ObservedStore`."""

    def __init__(self, database: Database, wake: Wake) -> None:
        self._database = database
        self._wake = wake
        self._write = Gathered(self._write_all, ASKED_AT_ONCE)
        self._read = Gathered(self._read_all, ASKED_AT_ONCE)
        self._scan = Gathered(self._scan_all, SCANNED_AT_ONCE)

    async def put(self, rows: Sequence[ObservedRow]) -> None:
        if rows:
            await self._write([(row.kind, key(row.name), row.body, row.fence) for row in rows])

    async def delete(self, kind: str, names: Collection[str], *, fence: Fence | None = None) -> None:
        if names:
            await self._write([(kind, key(name), None, fence) for name in names])

    @uninterrupted
    async def _write_all(self, given: Sequence[Sequence[_Told]]) -> Sequence[None]:
        """What several callers gave, in its order: the last about one thing counts."""
        newest = {(told[0], told[1]): told for each in given for told in each}
        sequence = 0
        async with self._database.write() as connection:
            await lock(connection, OBSERVED)
            fresh = await _news(connection, list(newest.values()))
            for start in range(0, len(fresh), CHANGES_MAX):
                sequence = await take(connection, OBSERVED)
                values = [
                    {"kind": kind, "name": name, "sequence": sequence, "body": body}
                    for kind, name, body, _ in fresh[start : start + CHANGES_MAX]
                ]
                await connection.execute(upsert(connection, observed, ["kind", "name"]), values)
            if any(body is None for _, _, body, _ in fresh):
                await _prune(connection)
            if fresh:
                await notify(connection, self._database)
        self._wake.rise(sequence)
        return [None] * len(given)

    async def read(self, kind: str, names: Collection[str]) -> dict[str, bytes]:
        return await self._read((kind, tuple(filter(is_key, names))))

    @uninterrupted
    async def _read_all(self, asked: Sequence[tuple[str, tuple[str, ...]]]) -> Sequence[dict[str, bytes]]:
        wanted: dict[str, set[str]] = {}
        for kind, names in asked:
            wanted.setdefault(kind, set()).update(names)
        found: dict[tuple[str, str], bytes] = {}
        async with self._database.read() as connection:
            for kind, of_kind in wanted.items():
                for batch in batches(of_kind):
                    rows = select(observed).where(observed.c.kind == kind, observed.c.name.in_(batch), _EXISTS)
                    found.update(((kind, row.name), row.body) for row in await connection.execute(rows))
        return [{name: found[kind, name] for name in names if (kind, name) in found} for kind, names in asked]

    async def scan(self, kind: str, prefix: str = "") -> Sequence[ObservedRow]:
        return await self._scan((kind, prefix)) if is_key(prefix) else []

    @uninterrupted
    async def _scan_all(self, asked: Sequence[tuple[str, str]]) -> Sequence[Sequence[ObservedRow]]:
        ranges = [
            select(observed).where(observed.c.kind == kind, within(observed.c.name, prefix), _EXISTS)
            for kind, prefix in sorted(set(asked))
        ]
        async with (
            self._database.read() as connection
        ):  # one range of the index each: with OR it would be all of a kind
            rows = (await connection.execute(union_all(*ranges))).mappings().all()
        found = {(row["kind"], row["name"]): _row(row) for row in sorted(rows, key=lambda row: str(row["name"]))}
        return [
            [row for (of, name), row in found.items() if of == kind and name.startswith(prefix)]
            for kind, prefix in asked
        ]

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


async def _news(connection: AsyncConnection, told: Sequence[_Told]) -> list[_Told]:
    """What differs from what is stored, without what comes from writers who were overtaken.

    Whoever takes a claim while this transaction is under way writes after it: the lock on OBSERVED sees to that.
    """
    now = await epochs(connection, {fence.claim for _, _, _, fence in told if fence})
    stored = await _stored(connection, told)
    return [
        (kind, name, body, fence)
        for kind, name, body, fence in told
        if stored.get((kind, name)) != body and (fence is None or now.get(fence.claim) == fence.epoch)
    ]


async def _stored(connection: AsyncConnection, told: Sequence[_Told]) -> dict[tuple[str, str], bytes | None]:
    """Bodies as they are, kind by kind: the index begins with it."""
    stored: dict[tuple[str, str], bytes | None] = {}
    for kind in {kind for kind, _, _, _ in told}:
        for batch in batches({name for of, name, _, _ in told if of == kind}):
            wanted = select(observed).where(observed.c.kind == kind, observed.c.name.in_(batch))
            stored.update(((kind, row.name), row.body) for row in await connection.execute(wanted))
    return stored


async def _prune(connection: AsyncConnection) -> None:
    """Forgets the oldest deletions beyond TOMBSTONES_MAX."""
    newest_first = select(observed.c.sequence).where(~_EXISTS).order_by(observed.c.sequence.desc())
    oldest = await connection.scalar(newest_first.offset(TOMBSTONES_MAX).limit(1))
    if oldest is not None:
        await connection.execute(delete(observed).where(~_EXISTS, observed.c.sequence <= oldest))


def _row(row: RowMapping) -> ObservedRow:
    return ObservedRow(row["kind"], row["name"], row["body"])
