"""The few statements that the dialects write differently, or that every table here needs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, true
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

BATCH = 1000  # names in one IN (...): both databases allow some 32 000


def insert_for(connection: AsyncConnection | Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT; the two dialects spell it alike."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # 0.1 s and 2 MB, which a store on SQLite need not pay

    return postgresql.insert(table)


def upsert(connection: AsyncConnection, table: Table, keys: Sequence[str], *, add: str = "") -> Any:
    """Insert, or replace all columns but `keys`; `add` names a column that is added up instead."""
    statement = insert_for(connection, table)
    fresh = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    if add:
        fresh[add] = table.c[add] + statement.excluded[add]
    return statement.on_conflict_do_update(index_elements=list(keys), set_=fresh)


def within(column: Column[str], prefix: str) -> ColumnElement[bool]:
    """`column` begins with `prefix`, as a range of the index."""
    if not prefix:
        return true()
    return and_(column >= prefix, column < prefix[:-1] + chr(ord(prefix[-1]) + 1))


def batches(values: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(values)
    while batch := list(islice(rest, BATCH)):
        yield batch
