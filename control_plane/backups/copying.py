"""A store's rows into a SQLite file, and back into an empty store of either kind.

What is read is one moment of the store, though a control plane goes on writing: one transaction sees all tables as they
were when it began (SQLite in WAL mode; PostgreSQL at REPEATABLE READ).
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Table, create_engine, delete, insert, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.store.database import as_mesh_errors, connect, sqlite_file
from control_plane.store.open import RestoredFrom, create_empty, format_of, prepare
from control_plane.store.schema import FORMAT, INCARNATION, PASSING, RESTORED_FROM, REVISION, counters, meta, metadata
from waypost.errors import Precondition

ROWS = 1000  # at once: about a megabyte

KEPT = tuple(table for table in metadata.sorted_tables if table not in PASSING)


@dataclass(frozen=True, slots=True)
class Moment:
    """Which state of the store it is."""

    incarnation: str
    revision: int


async def save(url: str, file: Path) -> Moment:
    """Copies the store at `url` to a new SQLite file. Raises: Precondition(NO_STORE, STORE_OF_ANOTHER_VERSION)."""
    its_file = sqlite_file(url)
    if its_file is not None and not its_file.exists():
        raise _no_store(url)
    database = connect(url)
    try:
        async with database.snapshot() as source:
            _refuse_other_formats(await source.run_sync(format_of), url)
            with _sqlite(file) as target:
                create_empty(target)
                for table in KEPT:
                    async for rows in _rows(source, table):
                        target.execute(insert(table), rows)
                return _moment(target)
    finally:
        await database.close()


async def load(file: Path, url: str, *, now: float) -> RestoredFrom:
    """Fills the empty store at `url` from a file of `save`, which is migrated first; all or nothing.

    The store is another one from now on, and remembers which it came from. Raises: Precondition(NOT_EMPTY).
    """
    with _sqlite(file) as source:
        prepare(source)
        moment = _moment(source)
        origin = RestoredFrom(moment.incarnation, moment.revision, int(now))
        database = connect(url)
        try:
            async with database.write() as target:
                await target.run_sync(_refuse_tables, url)
                await target.run_sync(create_empty)
                for table in KEPT:
                    for rows in source.execute(select(table)).mappings().partitions(ROWS):
                        await target.execute(insert(table), [dict(row) for row in rows])
                await _renumber(target, origin)
        finally:
            await database.close()
    return origin


async def _renumber(target: AsyncConnection, origin: RestoredFrom) -> None:
    new = update(meta).where(meta.c.key == INCARNATION).values(value=str(uuid4()))
    await target.execute(new)
    await target.execute(delete(meta).where(meta.c.key == RESTORED_FROM))
    await target.execute(insert(meta), {"key": RESTORED_FROM, "value": json.dumps(asdict(origin))})


async def _rows(source: AsyncConnection, table: Table) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    result = await source.stream(select(table))
    async for rows in result.mappings().partitions(ROWS):
        yield [dict(row) for row in rows]


@contextmanager
def _sqlite(file: Path) -> Iterator[Connection]:
    """A transaction on a file that nobody else uses."""
    engine = create_engine(f"sqlite:///{file}")
    try:
        with as_mesh_errors(), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _moment(connection: Connection) -> Moment:
    incarnation = connection.execute(select(meta.c.value).where(meta.c.key == INCARNATION)).scalar_one()
    revision = connection.execute(select(counters.c.value).where(counters.c.name == REVISION)).scalar_one()
    return Moment(str(incarnation), int(revision))


def _refuse_other_formats(found: int, url: str) -> None:
    if found == 0:
        raise _no_store(url)
    if found != FORMAT:
        raise Precondition(
            "STORE_OF_ANOTHER_VERSION",
            f"the store has format {found}, and this software reads {FORMAT}",
            "make the backup with the version of Waypost that the control plane runs",
        )


def _no_store(url: str) -> Precondition:
    hint = "name the control plane's --data-dir or --database-url"
    return Precondition("NO_STORE", f"no control plane's store is at {_shown(url)}", hint)


def _refuse_tables(connection: Connection, url: str) -> None:
    if tables := inspect(connection).get_table_names():
        raise Precondition(
            "NOT_EMPTY", f"{_shown(url)} is not empty: it has a table {min(tables)}", "restore into an empty database"
        )


def _shown(url: str) -> str:
    """Never a password."""
    return url.rpartition("@")[2]
