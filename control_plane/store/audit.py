"""`AuditStore` over SQLAlchemy Core: rows that are added and never changed, bounded by age and by number.

What was refused has a bound of its own, so that whoever is refused ten thousand times pushes nothing out but refusals.
"""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Select, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.gathering import Gathered
from control_plane.store.base import AuditFilter, AuditRow
from control_plane.store.database import Database, uninterrupted
from control_plane.store.records import take
from control_plane.store.schema import AUDIT, audit
from control_plane.store.statements import within
from control_plane.store.text import PROSE_BYTES_MAX, WORD_BYTES_MAX, clean

ENTRIES_MAX = 100_000  # some 50 MB, at most 300 (_storable); at a change a minute two months, at people's pace years
FAILED_MAX = 20_000  # at most 60 MB, whatever strangers write
KEPT_DAYS = 400  # a yearly review finds the whole year
APPENDED_AT_ONCE = 100  # by callers that come together
PRUNED_EVERY = 64  # entries; bounds may be exceeded by so many, and an entry costs one insert
_DAY_MS = 24 * 3600 * 1000


class SqlAudit:
    """See `base.AuditStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._append = Gathered(self._append_all, APPENDED_AT_ONCE)

    async def append(self, row: AuditRow) -> None:
        await self._append(_storable(row))

    @uninterrupted
    async def _append_all(self, rows: Sequence[AuditRow]) -> Sequence[None]:
        async with self._database.write() as connection:
            last = await take(connection, AUDIT, len(rows))
            before = last - len(rows)
            await connection.execute(
                insert(audit), [{**_values(row), "id": id_} for id_, row in enumerate(rows, before + 1)]
            )
            if last // PRUNED_EVERY > before // PRUNED_EVERY:
                await _prune(connection, last, rows[-1].time_unix_ms)
        return [None] * len(rows)

    @uninterrupted
    async def newest(self, wanted: AuditFilter, *, limit: int = 100, before: int = 0) -> list[AuditRow]:
        query = _filtered(select(audit), _asked(wanted)).order_by(audit.c.id.desc()).limit(limit)
        if before:
            query = query.where(audit.c.id < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [AuditRow(**row) for row in rows]


def _storable(row: AuditRow) -> AuditRow:
    """Before it comes together with the rows of others: the database refuses all of them or none."""
    return replace(
        row,
        subject=clean(row.subject, WORD_BYTES_MAX),
        credential=clean(row.credential, WORD_BYTES_MAX),
        peer=clean(row.peer, WORD_BYTES_MAX),
        method=clean(row.method, WORD_BYTES_MAX),
        resource=clean(row.resource, WORD_BYTES_MAX),
        code=clean(row.code, WORD_BYTES_MAX),
        reason=clean(row.reason, WORD_BYTES_MAX),
        request=clean(row.request, PROSE_BYTES_MAX),
    )


def _asked(wanted: AuditFilter) -> AuditFilter:
    """In the form that rows have."""
    return replace(
        wanted,
        resource=clean(wanted.resource, WORD_BYTES_MAX),
        subject=clean(wanted.subject, WORD_BYTES_MAX),
        method=clean(wanted.method, WORD_BYTES_MAX),
    )


def _values(row: AuditRow) -> dict[str, object]:
    return {column.name: getattr(row, column.name) for column in audit.columns}


def _filtered(query: Select[tuple[object, ...]], wanted: AuditFilter) -> Select[tuple[object, ...]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.resource:
        below = within(audit.c.resource, f"{wanted.resource}/")
        conditions.append(or_(audit.c.resource == wanted.resource, below))
    if wanted.subject:
        conditions.append(audit.c.subject == wanted.subject)
    if wanted.method:
        conditions.append(or_(audit.c.method == wanted.method, audit.c.method.endswith(f"/{wanted.method}")))
    if wanted.failed_only:
        conditions.append(audit.c.failed.is_(True))
    if wanted.since_ms:
        conditions.append(audit.c.time_unix_ms >= wanted.since_ms)
    if wanted.until_ms:
        conditions.append(audit.c.time_unix_ms < wanted.until_ms)
    return query.where(*conditions)


async def _prune(connection: AsyncConnection, newest: int, now_ms: int) -> None:
    await connection.execute(delete(audit).where(audit.c.id <= newest - ENTRIES_MAX))
    await connection.execute(delete(audit).where(audit.c.time_unix_ms < now_ms - KEPT_DAYS * _DAY_MS))
    failed = select(audit.c.id).where(audit.c.failed.is_(True)).order_by(audit.c.id.desc())
    oldest = await connection.scalar(failed.offset(FAILED_MAX).limit(1))
    if oldest is not None:
        await connection.execute(delete(audit).where(audit.c.failed.is_(True), audit.c.id <= oldest))
