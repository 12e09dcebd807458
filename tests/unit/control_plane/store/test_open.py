"""Opening, migrating and running out of things, on real SQLite files."""

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, insert, inspect, select, text

from control_plane.store import Put, database, open_stores
from control_plane.store.open import format_of, migrate, prepare
from control_plane.store.schema import FORMAT, counters, metadata, records
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API, CREDENTIAL_KIND_APPLICATION, Credential
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_UNSPECIFIED, ROLE_VIEWER
from waypost.errors import DataLoss, Exhausted, Invalid, MeshError, Unavailable


def test_migrations_lead_to_the_same_schema_as_a_new_store(tmp_path: Path) -> None:
    def shape(path: Path, make: Any) -> tuple[object, object, int]:
        with create_engine(f"sqlite:///{path}").begin() as connection:
            make(connection)
            difference = compare_metadata(MigrationContext.configure(connection), metadata)
            return difference, _shape(connection), format_of(connection)

    migrated, made = shape(tmp_path / "migrated.db", migrate), shape(tmp_path / "made.db", prepare)
    assert migrated == made
    assert made[0] == []
    assert made[2] == FORMAT


def _shape(connection: Connection) -> object:
    looking = inspect(connection)
    counts = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in metadata.tables}
    return sorted(looking.get_table_names()), looking.get_indexes("records"), counts


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "postgresql+psycopg2"])
def test_an_address_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        database.connect(url)
    assert refused.value.reason == "BAD_STORE_URL"


def test_an_installation_without_a_driver_for_postgresql_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(Invalid) as refused:
        database.connect("postgresql://waypost@localhost/waypost")
    assert "[postgresql]" in refused.value.hint


def test_a_refused_address_never_shows_its_password() -> None:
    with pytest.raises(Invalid) as refused:
        database.connect("mysql://user:secret@host/db")
    assert "secret" not in str(refused.value)


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db") as stores:
            await stores.records.commit([Put("kept", "thing", b"x")])
            await _every_connection(stores, "PRAGMA max_page_count = 40")
            with pytest.raises(Exhausted) as refused:
                await stores.records.commit([Put("big", "thing", b"x" * 1_000_000)])
            assert refused.value.reason == "DISK_FULL"
            assert await stores.records.revision() == 1
            await _every_connection(stores, "PRAGMA max_page_count = 4000")
            assert await stores.records.commit([Put("big", "thing", b"x" * 1_000_000)]) == 2
            assert (await stores.records.read_many(["kept", "big"])).keys() == {"kept", "big"}

    asyncio.run(scenario())


async def _every_connection(stores: Any, pragma: str) -> None:
    """With one connection in use at a time there is one in the pool."""
    async with stores.records._database.engine.connect() as connection:
        await connection.exec_driver_sql(pragma)


def test_the_numbers_of_claims_go_on_where_an_older_version_numbered_sessions(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db") as stores:
            with create_engine(f"sqlite:///{tmp_path}/store.db").begin() as connection:
                connection.execute(insert(counters), {"name": "user/epoch/edgeServers/e", "value": 4})
            assert await stores.claims.take("edgeServers/e", "one") == 5

    asyncio.run(scenario())


def test_a_store_locked_by_somebody_else_is_busy_and_writable_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)

    async def scenario() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db") as stores:
            other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable) as refused:
                await stores.records.commit([Put("a", "thing", b"x")])
            assert refused.value.reason == "STORE_BUSY"
            assert await stores.records.revision() == 0  # readers never wait
            other.close()
            assert await stores.records.commit([Put("a", "thing", b"x")]) == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("prepare_file", "kind", "reason"),
    [
        (lambda path: path.write_bytes(b"not a database at all" * 100), DataLoss, "STORE_DAMAGED"),
        (lambda path: path.mkdir(), Unavailable, "STORE_UNREACHABLE"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_as_what_it_is(
    tmp_path: Path, prepare_file: Any, kind: type[MeshError], reason: str
) -> None:
    prepare_file(tmp_path / "store.db")

    async def scenario() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db"):
            pass

    with pytest.raises(kind) as refused:
        asyncio.run(scenario())
    assert refused.value.reason == reason


def test_an_incarnation_is_unlike_any_other() -> None:
    async def scenario() -> None:
        async with open_stores("sqlite://") as one, open_stores("sqlite://") as two:
            assert one.records.incarnation != two.records.incarnation
            assert one.token_key != two.token_key

    asyncio.run(scenario())


def test_tokens_made_before_there_were_roles_stay_what_they_were(tmp_path: Path) -> None:
    """They could do everything; those of another kind have no role, and get none."""
    tokens = {
        "credentials/admin": Credential(kind=CREDENTIAL_KIND_API),
        "credentials/ci": Credential(kind=CREDENTIAL_KIND_API, role=ROLE_VIEWER),
        "projects/p/applications/a/credentials/xapp": Credential(kind=CREDENTIAL_KIND_APPLICATION),
    }
    with create_engine(f"sqlite:///{tmp_path}/old.db").begin() as connection:
        migrate(connection, "0001")
        rows = [
            {"name": name, "kind": "credential", "revision": 1, "body": token.SerializeToString()}
            for name, token in tokens.items()
        ]
        connection.execute(insert(records), rows)
        migrate(connection)
        found = {row.name: Credential.FromString(row.body).role for row in connection.execute(select(records))}
    assert list(found.values()) == [ROLE_ADMIN, ROLE_VIEWER, ROLE_UNSPECIFIED]
