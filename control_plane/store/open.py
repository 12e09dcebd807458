"""Opens a store: brings the schema up to date, and follows what other processes commit.

    async with open_stores("sqlite:///waypost.db") as stores, asyncio.TaskGroup() as tasks:
        tasks.create_task(stores.follow(), name="store-follow")

A new database is made at once from `schema.metadata`; one of an older format is migrated by Alembic, in a transaction.
Alembic is imported only where there is something to migrate: it costs 10 MB. Steps expand first, and contract a release
later: so software of the version before works on with what newer software has migrated, and may be started there too.
One of a newer format than that is refused.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog
from sqlalchemy import Connection, insert, inspect, select, text

from control_plane.store.audit import SqlAudit
from control_plane.store.base import (
    AuditStore,
    Claims,
    EventStore,
    Facts,
    MinuteStore,
    ObservedStore,
    Roster,
    Store,
)
from control_plane.store.claims import SqlClaims, SqlFacts, SqlRoster
from control_plane.store.database import Database, connect, uninterrupted
from control_plane.store.history import SqlEvents, SqlMinutes
from control_plane.store.observed import SqlObserved
from control_plane.store.postgres import listening
from control_plane.store.records import SqlStore, counter
from control_plane.store.schema import (
    COMPACTED,
    FORMAT,
    INCARNATION,
    NEEDED_FORMAT,
    NEEDS,
    OBSERVED,
    RESTORED_FROM,
    REVISION,
    TOKEN_KEY,
    counters,
    meta,
    metadata,
)
from control_plane.store.statements import insert_for
from control_plane.store.wake import Bell, Wake
from waypost.errors import MeshError, Precondition

log = structlog.get_logger()

POLL_S = 1.0  # how late a commit of another process is seen where no NOTIFY came; costs one small query
MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 7600  # any number that only we use


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that the control plane remembers, in one database."""

    records: Store
    observed: ObservedStore
    events: EventStore
    audit: AuditStore
    minutes: MinuteStore
    claims: Claims
    roster: Roster
    facts: Facts
    is_shared: bool
    """Other control planes may work on it at the same time."""
    restored_from: "RestoredFrom | None"
    """Where a backup was restored into this store."""
    token_key: bytes
    """32 random bytes, the same for all replicas of this control plane and its whole life. Signs page tokens."""
    _news: "_News"

    @property
    def known_revision(self) -> int:
        """The newest commit that this process knows of, without asking the database: at most POLL_S old."""
        return self._news.revisions.value

    async def news(self, revision: int, sequence: int) -> None:
        """Returns as soon as there is a commit after `revision` or an observation after `sequence`."""
        while self._news.revisions.value <= revision and self._news.sequences.value <= sequence:
            await self._news.bell.wait()

    async def follow(self) -> None:
        """Wakes watchers when another process commits; for ever. Our own commits wake without it."""
        await self._news.follow()


@dataclass(frozen=True, slots=True)
class RestoredFrom:
    """The store that a backup was made of, and when it was restored."""

    incarnation: str
    revision: int
    time_unix_s: int


@asynccontextmanager
async def open_stores(url: str) -> AsyncIterator[Stores]:
    """`sqlite:///path`, `sqlite://` (in memory) or `postgresql://user@host/database`.

    Raises: Precondition(STORE_TOO_NEW), Invalid(BAD_STORE_URL), and what base.py says of all methods.
    """
    database = connect(url)
    try:
        yield await database.finish(_open(database))
    finally:
        await database.close()


async def _open(database: Database) -> Stores:
    async with database.write() as connection:
        await connection.run_sync(prepare)
    async with database.read() as connection:
        kept = {row.key: row.value for row in await connection.execute(select(meta))}
        news = _News(database, await counter(connection, REVISION), await counter(connection, OBSERVED))
    return Stores(
        SqlStore(database, kept[INCARNATION], news.revisions),
        SqlObserved(database, news.sequences),
        SqlEvents(database),
        SqlAudit(database),
        SqlMinutes(database),
        SqlClaims(database),
        SqlRoster(database),
        SqlFacts(database),
        not database.is_sqlite,
        RestoredFrom(**json.loads(kept[RESTORED_FROM])) if RESTORED_FROM in kept else None,
        bytes.fromhex(kept[TOKEN_KEY]),
        news,
    )


def prepare(connection: Connection) -> None:
    """Makes or migrates the schema, inside the caller's transaction. Raises: Precondition(STORE_TOO_NEW)."""
    if connection.dialect.name == "postgresql":  # two replicas may start at once
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    found = format_of(connection)
    if found > FORMAT and (needed := needed_format(connection)) > FORMAT:
        raise Precondition(
            "STORE_TOO_NEW",
            f"the store has format {found}, which needs software that knows {needed}; this one knows {FORMAT}",
            "start the newer version of Waypost that wrote it, or restore a backup made before the upgrade",
        )
    if found == 0:
        _create(connection)
    elif found < FORMAT:
        migrate(connection)


def format_of(connection: Connection) -> int:
    """Number of the newest migration that this database has seen; 0 for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return 0
    return int(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def needed_format(connection: Connection) -> int:
    """What software must know at least to work with this database, as the newest that migrated it has said."""
    said = connection.execute(select(meta.c.value).where(meta.c.key == NEEDS)).scalar()
    return int(said) if said else format_of(connection)


def tell_needs(connection: Connection) -> None:
    """Every migration ends with it."""
    statement = insert_for(connection, meta)
    told = statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded["value"]})
    connection.execute(told, {"key": NEEDS, "value": str(NEEDED_FORMAT)})


def _create(connection: Connection) -> None:
    create_empty(connection)
    first_rows(connection)


def create_empty(connection: Connection) -> None:
    """The schema of the newest format, without a row."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:format)"), {"format": f"{FORMAT:04}"})


def first_rows(connection: Connection) -> None:
    """What a new store begins with."""
    connection.execute(insert(meta), {"key": INCARNATION, "value": str(uuid4())})
    connection.execute(insert(meta), {"key": TOKEN_KEY, "value": secrets.token_hex(32)})
    tell_needs(connection)
    for name in (REVISION, COMPACTED, OBSERVED):
        connection.execute(insert(counters), {"name": name, "value": 0})


def migrate(connection: Connection, to: str = "head") -> None:
    """Brings the schema to the newest format, or to the one of a number such as `0001`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


class _News:
    """What this process knows to be newest: by its own commits, by NOTIFY, and by looking every POLL_S."""

    def __init__(self, database: Database, revision: int, sequence: int) -> None:
        self.bell = Bell()
        self.revisions = Wake(revision, self.bell)
        self.sequences = Wake(sequence, self.bell)
        self._database = database

    async def follow(self) -> None:
        hint = asyncio.Event()
        while True:
            async with listening(self._database, hint.set) as alive:
                while True:
                    await _wait(hint, POLL_S)
                    await self._look()
                    if not alive():
                        break

    @uninterrupted
    async def _look(self) -> None:
        try:
            async with self._database.read() as connection:
                self.revisions.rise(await counter(connection, REVISION))
                self.sequences.rise(await counter(connection, OBSERVED))
        except MeshError as error:  # the next look tells; callers hear it from their own reads
            log.warning("store_unreadable", reason=error.reason, error=error.message)


async def _wait(hint: asyncio.Event, timeout_s: float) -> None:
    """Until the hint or the timeout, whichever comes first; takes the hint away."""
    try:
        async with asyncio.timeout(timeout_s):
            await hint.wait()
    except TimeoutError:
        return
    hint.clear()
