"""PostgreSQL for tests, on the server that WAYPOST_TEST_POSTGRES names; `make test-postgres` starts one."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

SERVER = os.environ.get("WAYPOST_TEST_POSTGRES", "")
"""URL of a database whose user may create others; empty where there is no server."""


@contextmanager
def database() -> Iterator[str]:
    """URL of a new, empty database, which goes with the block and with whoever is still connected."""
    name = f"waypost_{uuid4().hex}"
    asyncio.run(_execute(f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(SERVER)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(SERVER)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
