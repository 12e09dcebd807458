"""What only PostgreSQL can: say at once that another process has committed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from control_plane.store.database import Database, as_mesh_errors
from waypost.errors import MeshError

CHANNEL = "waypost"


@asynccontextmanager
async def listening(database: Database, wake: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
    """Calls `wake` on each NOTIFY. Yields whether that still works: False means to come in again.

    A server that cannot be reached is no error here: reads will say so, and polling goes on.
    """
    if database.is_sqlite:
        yield lambda: True
        return
    try:
        held = await _open(database, wake)
    except MeshError:
        yield lambda: False
        return
    try:
        yield lambda: not held.closed and not held.driver.is_closed()
    finally:
        await held.close()


class _Held:
    """A pooled connection kept for listening."""

    def __init__(self, connection: Any, driver: Any, on_notify: Callable[..., None]) -> None:
        self._connection, self.driver, self._on_notify = connection, driver, on_notify

    @property
    def closed(self) -> bool:
        return bool(self._connection.closed)

    async def close(self) -> None:
        if not self.driver.is_closed():
            await self.driver.remove_listener(CHANNEL, self._on_notify)
        await self._connection.close()


async def _open(database: Database, wake: Callable[[], None]) -> _Held:
    def on_notify(*_: object) -> None:
        wake()

    with as_mesh_errors():
        connection = await database.engine.connect()
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        assert driver is not None
        await driver.add_listener(CHANNEL, on_notify)
    return _Held(connection, driver, on_notify)
