"""`EventStore` and `MinuteStore` over SQLAlchemy Core: what was, bounded."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.gathering import Gathered
from control_plane.store.base import EventRow, Merge, MinuteRow
from control_plane.store.database import Database, uninterrupted
from control_plane.store.records import take
from control_plane.store.schema import EVENT, MINUTE, events, minutes
from control_plane.store.statements import BATCH, insert_for, upsert, within
from control_plane.store.text import PROSE_BYTES_MAX, WORD_BYTES_MAX, clean, is_key, key

EVENTS_MAX = 10_000  # some 3 MB, at most 50 (_storable); weeks of a quiet fleet, hours of a bad day
APPENDED_AT_ONCE = 100  # by callers that come together, with some events each
MINUTES_KEPT = 24 * 60


class SqlEvents:
    """See `base.EventStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._append = Gathered(self._append_all, APPENDED_AT_ONCE)

    async def append(self, rows: Sequence[EventRow]) -> None:
        if rows:
            await self._append([_storable(row) for row in rows])

    @uninterrupted
    async def _append_all(self, given: Sequence[Sequence[EventRow]]) -> Sequence[None]:
        rows = [row for each in given for row in each]
        async with self._database.write() as connection:
            last = await take(connection, EVENT, len(rows))
            values = [
                {
                    "id": id_,
                    "time_unix_ms": row.time_unix_ms,
                    "resource": row.resource,
                    "reason": row.reason,
                    "message": row.message,
                    "source": row.source,
                    "key": row.key or None,
                }
                for id_, row in enumerate(rows, last - len(rows) + 1)
            ]
            await connection.execute(insert_for(connection, events).on_conflict_do_nothing(), values)
            await connection.execute(delete(events).where(events.c.id <= last - EVENTS_MAX))
        return [None] * len(given)

    @uninterrupted
    async def newest(self, resource: str = "", *, limit: int = 100, before: int = 0) -> Sequence[EventRow]:
        wanted = select(events).order_by(events.c.id.desc()).limit(limit)
        if resource := clean(resource, WORD_BYTES_MAX):
            wanted = wanted.where(or_(events.c.resource == resource, within(events.c.resource, f"{resource}/")))
        if before:
            wanted = wanted.where(events.c.id < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted)).mappings().all()
        return [EventRow(**{**row, "key": row["key"] or ""}) for row in rows]


def _storable(row: EventRow) -> EventRow:
    """Before it comes together with the rows of others: the database refuses all of them or none."""
    return replace(
        row,
        resource=clean(row.resource, WORD_BYTES_MAX),
        reason=clean(row.reason, WORD_BYTES_MAX),
        message=clean(row.message, PROSE_BYTES_MAX),
        source=clean(row.source, WORD_BYTES_MAX),
        key=key(row.key),
    )


class SqlMinutes:
    """See `base.MinuteStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pruned_minute = 0

    @uninterrupted
    async def append(self, rows: Sequence[MinuteRow], *, now_s: float, merge: Merge) -> None:
        if not rows:
            return
        this_minute = int(now_s // 60)
        async with self._database.write() as connection:
            await take(connection, MINUTE)  # one at a time: what is added must not be overwritten
            known = await _bodies(connection, rows)
            values = [{"name": row.name, "minute": row.minute, "body": _sum(row, known, merge)} for row in rows]
            await connection.execute(upsert(connection, minutes, ["name", "minute"]), values)
            if this_minute > self._pruned_minute:
                await connection.execute(delete(minutes).where(minutes.c.minute < this_minute - MINUTES_KEPT))
                self._pruned_minute = this_minute

    @uninterrupted
    async def query(self, name: str, *, since_minute: int, until_minute: int) -> Sequence[MinuteRow]:
        if not is_key(name):
            return []
        wanted = select(minutes).where(
            minutes.c.name == name, minutes.c.minute >= since_minute, minutes.c.minute < until_minute
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(wanted.order_by(minutes.c.minute))).mappings().all()
        return [MinuteRow(**row) for row in rows]


async def _bodies(connection: AsyncConnection, rows: Sequence[MinuteRow]) -> dict[tuple[str, int], bytes]:
    found: dict[tuple[str, int], bytes] = {}
    for start in range(0, len(rows), BATCH):
        keys = [(row.name, row.minute) for row in rows[start : start + BATCH]]
        wanted = select(minutes).where(tuple_(minutes.c.name, minutes.c.minute).in_(keys))
        found.update(((row.name, row.minute), row.body) for row in await connection.execute(wanted))
    return found


def _sum(row: MinuteRow, known: dict[tuple[str, int], bytes], merge: Merge) -> bytes:
    before = known.get((row.name, row.minute))
    return row.body if before is None else merge(before, row.body)
