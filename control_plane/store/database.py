"""One database, opened: transactions that run to their end, and its errors as ours.

SQLite: a file in WAL mode, so that readers never wait for the writer. There is one writer at a time by SQLite's own
rule; an asyncio lock keeps our own writers in line, and `busy_timeout` waits for those of other processes. A commit is
on the disk when it returns (synchronous=FULL): an agent that was told of a revision must never see it taken back by a
power cut. In memory there is one connection, which everybody waits for in turn.

PostgreSQL: the server's own concurrency; row locks order what must be ordered.

Calls are cancelled all the time: a watcher hangs up, a deadline passes. A driver that is cancelled in the middle of a
statement throws its connection away, and aiosqlite that is cancelled twice never ends (0.22: two `stop` on one
connection wait for one thread). So whatever touches the database is `uninterrupted`: the caller goes, the milliseconds
of work go on to their end, and `close` waits for them.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InternalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from waypost.errors import DataLoss, Exhausted, Invalid, MeshError, Unavailable

BUSY_TIMEOUT_S = 5.0  # a backup or a second process may hold SQLite's write lock this long before we say STORE_BUSY
CONNECTIONS_MAX = 8  # SQLite: one thread each; PostgreSQL: its default allows 100 for all its clients
T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", bound="_OnDatabase")

_BEGIN = "waypost_begin"  # execution option: the statement that opens a transaction on SQLite


class Database:
    """Hands out connections inside transactions. Close it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._turn = asyncio.Lock()
        self._unfinished: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; on SQLite each statement sees the newest commit."""
        with as_mesh_errors():
            async with self.engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading whose statements all see the same moment; nobody waits for it."""
        with as_mesh_errors():
            async with self.engine.connect() as connection:
                one_moment = {_BEGIN: "BEGIN"} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
                await connection.execution_options(**one_moment)
                async with connection.begin():
                    yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back by an exception."""
        with as_mesh_errors():
            if not self.is_sqlite:
                async with self.engine.begin() as connection:
                    yield connection
                return
            async with self._turn, self.engine.connect() as connection:
                await connection.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
                async with connection.begin():
                    yield connection

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which goes on to its end where the caller is cancelled meanwhile."""
        task = asyncio.create_task(work, name="store-work")  # owned here: `close` waits for it
        self._unfinished.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(task)
        if not task.cancelled():
            task.exception()  # the caller was told, unless it had gone

    async def close(self) -> None:
        while self._unfinished:
            await asyncio.wait(self._unfinished)
        await self.engine.dispose()


class _OnDatabase(Protocol):
    _database: Database


def uninterrupted(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Makes a method run to its end though its caller be cancelled."""

    @wraps(method)
    async def run(self: S, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        return await self._database.finish(method(self, *arguments, **keywords))

    return run


def sqlite_file(url: str) -> Path | None:
    """The file of a store on SQLite; None in memory and for every other store. Raises: Invalid(BAD_STORE_URL)."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url(url) from error
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)).resolve() if is_file else None


def connect(url: str) -> Database:
    """`sqlite:///path`, `sqlite://` (in memory) or `postgresql://user@host/database`. Opens no connection yet.

    Raises: Invalid(BAD_STORE_URL).
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url(url) from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.database in (None, "", ":memory:"):
            return Database(_sqlite_engine(make_url("sqlite+aiosqlite://"), connections=1))
        case "sqlite":
            return _connect_sqlite(parsed)
        case "postgresql":
            return Database(_postgres_engine(parsed.set(drivername="postgresql+asyncpg")))
    raise _bad_url(url)


def _bad_url(url: str) -> Invalid:
    shown = url.rpartition("@")[2]  # never a password
    hint = "write sqlite:///path/to/file.db or postgresql://user@host/database"
    return Invalid("BAD_STORE_URL", f"{shown!r} is not the address of a store", hint)


def _connect_sqlite(url: URL) -> Database:
    assert url.database
    with as_mesh_errors():
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        _try_sqlite(url.database)
    return Database(_sqlite_engine(url.set(drivername="sqlite+aiosqlite"), CONNECTIONS_MAX))


def _try_sqlite(path: str) -> None:
    """Finds out here what would else be found out in the driver's thread, and sets what stays set in the file."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _postgres_engine(url: URL) -> AsyncEngine:
    """A connection is tried before it is used: a server that was started anew is not noticed otherwise."""
    try:
        return create_async_engine(url, pool_size=CONNECTIONS_MAX, max_overflow=0, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        hint = "pip install 'waypost-platform[postgresql]'"
        raise Invalid("BAD_STORE_URL", f"this installation cannot use PostgreSQL: {error}", hint) from error


def _sqlite_engine(url: URL, connections: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": BUSY_TIMEOUT_S},
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves: the driver's own rules begin them too late
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    if statement := connection.get_execution_options().get(_BEGIN):
        connection.exec_driver_sql(statement)


@contextmanager
def as_mesh_errors() -> Iterator[None]:
    """Turns what a driver raises into MeshError; whatever was being written is rolled back by then."""
    try:
        yield
    except DBAPIError as error:
        raise translate(error.orig, error) from error
    except sqlite3.Error as error:
        raise translate(error, error) from error
    except SQLAlchemyError as error:
        raise Unavailable("STORE_BUSY", f"the store did not answer in time: {error}", "try again") from error
    except OSError as error:  # asyncpg cannot reach its server
        raise _unreachable(error) from error


def translate(cause: BaseException | None, error: BaseException) -> MeshError:
    """The MeshError for a driver's exception, by SQLite's code or PostgreSQL's SQLSTATE."""
    code = getattr(cause, "sqlite_errorcode", None)
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""
    primary = code & 0xFF if code is not None else None
    if primary == sqlite3.SQLITE_FULL or state == "53100":
        return _full(cause)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state[:2] == "40" or state == "55P03":
        return Unavailable("STORE_BUSY", "the store is locked by somebody else", "try again in a moment")
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or state[:2] == "XX":
        return DataLoss("STORE_DAMAGED", f"the store is damaged: {cause}", "restore it from a backup")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return _unreachable(cause or error)
    cut_off = isinstance(error, InternalError) and not state  # asyncpg, in the middle of a statement
    if cut_off or state[:2] in ("08", "28", "3D", "53", "57"):
        return _unreachable(cause or error)
    raise error  # a statement of ours is wrong: a fault, not a state of the world


def _full(cause: BaseException | None) -> Exhausted:
    return Exhausted("DISK_FULL", f"the store cannot grow: {cause}", "free space where the store lies, then try again")


def _unreachable(cause: BaseException) -> Unavailable:
    return Unavailable("STORE_UNREACHABLE", f"the store cannot be used: {cause}", "see that it is there and writable")
