"""Logs stay bounded for as long as an agent runs."""

import asyncio
import errno
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from edge_agent.drivers import process as process_driver
from edge_agent.drivers.cgroups import Cgroups
from edge_agent.drivers.process import ProcessDriver
from edge_agent.gateways.envoy import EnvoySettings
from edge_agent.gateways.envoy import gateway as envoy
from edge_agent.machine.layout import layout_of
from mesh.processes import LOG_BYTES_MAX


class Unreadable(Cgroups):
    def sweep(self, prefix: str, keep: Collection[str]) -> None:
        raise OSError(errno.EIO, "Input/output error")


def grow(log: Path) -> None:
    with open(log, "wb") as file:
        file.truncate(LOG_BYTES_MAX + 1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  nobody tells of files
            await asyncio.sleep(0.01)


def test_a_look_after_the_processes_that_fails_is_not_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_driver, "LOGS_BOUND_EVERY_S", 0.01)
    monkeypatch.setattr(process_driver.cgroups, "find", lambda: Unreadable({}, unified=True))
    faults: list[Any] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))
        layout = layout_of(tmp_path / "data", tmp_path / "run")
        layout.create()
        driver = ProcessDriver(layout)
        await until(lambda: len(faults) > 1)
        await driver.close()

    asyncio.run(scenario())
    assert {type(fault) for fault in faults} == {OSError}


def test_envoys_log_is_bounded_where_no_route_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "LOG_BOUND_EVERY_S", 0.01)
    log = tmp_path / "gateway" / "log"
    log.parent.mkdir()

    async def scenario() -> None:
        gateway = envoy.EnvoyGateway(EnvoySettings(log.parent, tmp_path, "127.0.0.1:1", "edge.test"))
        gateway._keep_house()
        grow(log)
        await until(lambda: log.stat().st_size == 0)
        assert not await gateway.stop(grace_s=0)
        grow(log)
        await asyncio.sleep(0.05)
        assert log.stat().st_size

    asyncio.run(scenario())
