"""Every driver against the driver suite; and what the process driver promises besides."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from edge_agent.drivers import cgroups
from edge_agent.drivers.base import Driver, Limits
from edge_agent.drivers.fake import FakeDriver, FakeMachine
from edge_agent.drivers.process import ProcessDriver
from edge_agent.machine.layout import Layout
from edge_agent.settings import AgentSettings
from mesh.processes import Process
from tests.contract import driver_suite as suite
from tests.waiting import until, wait_until
from waypost.errors import Precondition

HOST = """
case $(cat "$2") in
  *sha256:bad*)
    printf '{"reason": "LOAD_FAILED", "message": "the model cannot be loaded", "hint": "publish another version"}' \
      > "$(dirname "$2")/failure.json"
    exit 1 ;;
  *sha256:e5*) trap '' TERM ;;
  *sha256:f0*) (while :; do sleep 0.02; done) & ;;
  *) trap 'exit 0' TERM ;;
esac
echo started
while :; do sleep 0.02; done
"""


class FakeBench:
    def __init__(self) -> None:
        self._machine = FakeMachine(fail_start={suite.BROKEN.digest})

    def driver(self) -> Driver:
        return FakeDriver(self._machine)

    def crash(self, uid: str, id_: str) -> None:
        self._machine.end(uid, id_)

    def clean(self) -> None:
        pass


class ProcessBench:
    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "data", directory / "run")
        self.layout.create()
        self._drivers: list[ProcessDriver] = []

    def driver(self) -> ProcessDriver:
        driver = ProcessDriver(self.layout, command=lambda software, *program: ["/bin/sh", "-c", HOST, "host"])
        self._drivers.append(driver)
        return driver

    def processes(self) -> list[Process]:
        positions = self.layout.positions
        return [Process(path) for path in (*positions.glob("*/hosts/*"), *positions.glob("*/monitor"))]

    def crash(self, uid: str, id_: str) -> None:
        process = next(p for p in self.processes() if p.directory.name == id_ and uid in str(p.directory))
        pid = wait_until(process.pid)  # it may have been started this very moment
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def clean(self) -> None:
        """Ends what runs, and waits for our children: one that nobody waits for is warned about."""
        units = [unit for driver in self._drivers for units in driver._units.values() for unit in units.values()]
        for child in (unit._process._child for unit in units if unit._process._child is not None):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        for process in self.processes():
            process.kill()


BENCHES: dict[str, Callable[[Path], FakeBench | ProcessBench]] = {
    "fake": lambda directory: FakeBench(),
    "process": ProcessBench,
}
"""By the driver's name; made in a directory of its own."""


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeBench | ProcessBench]:
    bench = BENCHES[request.param](tmp_path)
    yield bench
    bench.clean()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ProcessBench]:
    bench = ProcessBench(tmp_path)
    yield bench
    bench.clean()


def test_every_driver_that_can_be_chosen_has_a_bench() -> None:
    assert {*get_args(get_type_hints(AgentSettings)["driver"])} <= BENCHES.keys()


@pytest.mark.parametrize("scenario", suite.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_driver(bench: FakeBench | ProcessBench, scenario: Callable[[suite.Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        await scenario(bench)

    asyncio.run(run())


def test_a_limit_that_cannot_be_kept_is_refused_before_anything_is_started(processes: ProcessBench) -> None:
    async def run() -> None:
        driver = processes.driver()
        driver._groups = None
        limited = suite.lineup(suite.hosts("r-a", limits=Limits(memory_bytes=1 << 28)))
        with pytest.raises(Precondition, match=r"spec\.resources"):
            await driver.apply(limited, grace_s=1)
        assert suite.by_id(driver) == {}
        await driver.close()

    asyncio.run(run())


@pytest.mark.skipif(cgroups.find() is None, reason="this machine lets us make no control groups")
def test_limits_are_kept_by_the_kernel(processes: ProcessBench) -> None:
    async def run() -> None:
        driver = processes.driver()
        limited = suite.hosts("r-a", limits=Limits(cpu_millis=500, memory_bytes=1 << 28))
        await driver.apply(suite.lineup(limited), grace_s=1)
        await until(lambda: suite.by_id(driver), lambda seen: seen["r-a"].pid > 0)
        member = Path(f"/proc/{suite.by_id(driver)['r-a'].pid}/cgroup")
        await until(member.read_text, lambda groups: f"{suite.UID[:8]}-r-a" in groups)
        await driver.apply(suite.lineup(), grace_s=2)
        await until(lambda: suite.by_id(driver), lambda seen: seen == {})
        groups = cgroups.find()
        assert groups is not None

        def none_left() -> bool:
            driver._sweep_groups()
            return not any([*parent.glob(f"{driver._group_prefix}*")] for parent in groups.parents.values())

        await until(none_left)
        await driver.close()

    asyncio.run(run())


def test_what_others_left_in_the_directory_is_not_touched(processes: ProcessBench) -> None:
    async def run() -> None:
        foreign = processes.layout.positions / suite.UID / "hosts" / "not-ours"
        process = Process(foreign)
        process.spawn(["/bin/sleep", "60"])
        driver = processes.driver()
        assert driver.positions() == frozenset()
        await driver.apply(suite.lineup(suite.hosts("r-a")), grace_s=1)
        await driver.apply(replace(suite.lineup()), grace_s=1)
        await until(lambda: suite.by_id(driver), lambda seen: seen == {})
        assert process.alive()
        await driver.close()
        await process.stop(0)
        assert process.exit_code() is not None

    asyncio.run(run())
