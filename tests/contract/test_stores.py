"""Every store against the same suite. PostgreSQL needs a server: `make test-postgres` starts one."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from control_plane.store import open as open_module
from control_plane.store import open_stores
from tests import postgres
from tests.contract.store_suite import DurableStoreSuite, Open, StoreSuite, put, scenario
from waypost.errors import Unavailable


class TestMemory(StoreSuite):
    @pytest.fixture
    def opened(self) -> Open:
        return lambda: open_stores("sqlite://")


class TestSqliteFile(DurableStoreSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Open:
        return lambda: open_stores(f"sqlite:///{tmp_path}/store.db")


if postgres.SERVER:

    class TestPostgres(DurableStoreSuite):
        @pytest.fixture
        def opened(self) -> Iterator[Open]:
            with postgres.database() as url:
                yield lambda: open_stores(url)

        @scenario
        async def test_a_notification_wakes_before_the_next_poll(
            self, opened: Open, monkeypatch: pytest.MonkeyPatch
        ) -> None:
            monkeypatch.setattr(open_module, "POLL_S", 3600.0)
            async with opened() as ours, opened() as theirs:
                follower = asyncio.ensure_future(ours.follow())
                waiting = asyncio.ensure_future(anext(ours.records.watch(0)))
                while not waiting.done():  # until the follower listens, notifications are lost
                    await theirs.records.commit([put("a")])
                    await asyncio.wait([waiting], timeout=0.05)
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)

else:

    def test_postgres_keeps_the_same_promises() -> None:
        pytest.skip("no PostgreSQL server is named; `make test-postgres` starts one")


@scenario
async def test_a_server_that_is_not_there_is_named_unreachable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can answer there
        with pytest.raises(Unavailable) as refused:
            async with open_stores(f"postgresql://waypost@127.0.0.1:{held.getsockname()[1]}/waypost"):
                pass
    assert refused.value.reason == "STORE_UNREACHABLE"
