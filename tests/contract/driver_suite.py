"""What every driver promises (edge_agent/drivers/base.py), as scenarios over a bench.

A bench knows how to make a driver (again), and what the outside world would do to its processes. The hosts it runs end
at SIGTERM; those of `BROKEN` end at once and say why; those of `STUBBORN` ignore SIGTERM; those of `FORKING` have a
child that lives on when they are killed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from edge_agent.drivers.base import MONITOR, Driver, HostSet, Lineup, MonitorMode, Observed
from edge_agent.failure import Failure
from edge_agent.machine.software import software_of
from edge_agent.model_version import Version
from tests.waiting import until

UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001"
OTHER_UID = "8a4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002"
GOOD = Version("projects/p/applications/a/models/m/versions/1", "sha256:" + "1" * 64)
BROKEN = Version("projects/p/applications/a/models/m/versions/2", "sha256:" + "bad" + "2" * 61)
STUBBORN = Version("projects/p/applications/a/models/m/versions/3", "sha256:" + "e5" + "3" * 62)
FORKING = Version("projects/p/applications/a/models/m/versions/4", "sha256:" + "f0" + "4" * 62)
GRACE_S = 5.0


class Bench(Protocol):
    def driver(self) -> Driver:
        """A new driver; the one before must have been closed, or died."""

    def crash(self, uid: str, id_: str) -> None:
        """kill -9."""


def lineup(*hosts: HostSet, monitor: MonitorMode = MonitorMode.STOP, uid: str = UID) -> Lineup:
    return Lineup(uid, f"projects/p/applications/a/positions/{uid[:4]}", uid[:8], hosts, monitor)


def hosts(*replicas: str, version: Version = GOOD, resting: tuple[str, ...] = (), **more: object) -> HostSet:
    base = HostSet(version, "v", Path("/nowhere"), "tower-7", replicas=replicas, resting=resting)
    return replace(base, **more)  # type: ignore[arg-type]


def by_id(driver: Driver, uid: str = UID) -> dict[str, Observed]:
    return {observed.id: observed for observed in driver.observe(uid)}


async def nothing_is_observed_where_nothing_was_started(bench: Bench) -> None:
    driver = bench.driver()
    assert driver.positions() == frozenset()
    assert list(driver.observe(UID)) == []


async def what_is_asked_for_runs(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", "r-b"), monitor=MonitorMode.RUN), grace_s=GRACE_S)
    seen = by_id(driver)
    assert seen.keys() == {"r-a", "r-b", MONITOR}
    assert all(observed.running and observed.starts == 1 and not observed.draining for observed in seen.values())
    assert (seen["r-a"].version, seen["r-a"].variant) == (GOOD, "v")
    assert seen["r-a"].address != seen["r-b"].address != ""
    assert driver.positions() == {UID}


async def asking_again_changes_nothing(bench: Bench) -> None:
    driver = bench.driver()
    asked = lineup(hosts("r-a"), monitor=MonitorMode.RUN)
    await driver.apply(asked, grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: all(observed.pid for observed in seen.values()))
    before = by_id(driver)
    await driver.apply(asked, grace_s=GRACE_S)
    assert by_id(driver) == before


async def what_runs_outlives_the_driver_and_is_adopted(bench: Bench) -> None:
    asked = lineup(hosts("r-a", "r-b"), monitor=MonitorMode.RUN)
    first = bench.driver()
    await first.apply(asked, grace_s=GRACE_S)
    await until(lambda: by_id(first), lambda seen: all(observed.pid for observed in seen.values()))
    before = by_id(first)
    await first.close()
    second = bench.driver()
    assert second.positions() == {UID}
    assert by_id(second) == before
    await second.apply(asked, grace_s=GRACE_S)
    assert by_id(second) == before


async def the_end_of_an_adopted_one_is_noticed(bench: Bench) -> None:
    first = bench.driver()
    await first.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    await first.close()
    second = bench.driver()
    woken: list[str] = []
    second.on_change(woken.append)
    bench.crash(UID, "r-a")
    await until(lambda: woken, lambda seen: UID in seen)
    assert not by_id(second)["r-a"].running


async def what_is_no_longer_asked_for_goes_without_a_trace(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", "r-b"), monitor=MonitorMode.RUN), grace_s=GRACE_S)
    await driver.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: seen.keys() == {"r-a"})
    assert by_id(driver)["r-a"].running


async def a_monitor_of_other_software_is_replaced(bench: Bench) -> None:
    driver = bench.driver()
    asked = lineup(hosts("r-a"), monitor=MonitorMode.RUN)
    old, new = (replace(asked, monitor_software=software) for software in ("0.0.9", "0.1.0"))
    await driver.apply(old, grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: seen[MONITOR].pid > 0)
    before = by_id(driver)[MONITOR]
    assert software_of(before.variant) == "0.0.9"
    await driver.apply(new, grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: MONITOR not in seen)
    await driver.apply(new, grace_s=GRACE_S)
    after = by_id(driver)
    assert (after[MONITOR].running, software_of(after[MONITOR].variant)) == (True, "0.1.0")
    assert (after["r-a"].running, after["r-a"].starts) == (True, 1)


async def positions_do_not_touch_each_other(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    await driver.apply(lineup(hosts("r-a"), uid=OTHER_UID), grace_s=GRACE_S)
    await driver.apply(lineup(), grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: not seen)
    assert by_id(driver, OTHER_UID)["r-a"].running


async def one_that_ended_stays_with_its_reason_and_may_be_started_again(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    bench.crash(UID, "r-a")
    await until(lambda: by_id(driver), lambda seen: not seen["r-a"].running)
    ended = by_id(driver)["r-a"]
    assert ended.failure is not None
    assert ended.failure.reason == "KILLED"
    await driver.apply(lineup(hosts(resting=("r-a",))), grace_s=GRACE_S)
    assert not by_id(driver)["r-a"].running
    await driver.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    again = by_id(driver)["r-a"]
    assert (again.running, again.starts, again.failure) == (True, 2, None)


async def one_that_is_killed_before_its_child_ends_and_may_be_started_again(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", version=FORKING)), grace_s=GRACE_S)
    await until_forked(driver)
    bench.crash(UID, "r-a")
    await until(lambda: not by_id(driver)["r-a"].running)
    failure = by_id(driver)["r-a"].failure
    assert failure is not None
    assert failure.reason == "KILLED"
    await driver.apply(lineup(hosts("r-a", version=FORKING)), grace_s=GRACE_S)
    again = by_id(driver)["r-a"]
    assert (again.running, again.starts, again.failure) == (True, 2, None)


async def the_end_of_an_adopted_one_is_noticed_before_its_child_ends(bench: Bench) -> None:
    first = bench.driver()
    await first.apply(lineup(hosts("r-a", version=FORKING)), grace_s=GRACE_S)
    await until_forked(first)
    await first.close()
    bench.crash(UID, "r-a")
    second = bench.driver()
    await until(lambda: not by_id(second)["r-a"].running)
    await second.apply(lineup(), grace_s=GRACE_S)
    assert by_id(second) == {}


async def until_forked(driver: Driver) -> None:
    """A host says that it was started after it has forked."""
    await until(lambda: driver.logs(UID, 10), lambda logs: "started" in logs["r-a"])


async def one_that_ends_by_itself_says_why(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", version=BROKEN)), grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: not seen["r-a"].running)
    failure = by_id(driver)["r-a"].failure
    assert failure == Failure("LOAD_FAILED", "the model cannot be loaded", "publish another version")


async def a_resting_one_that_was_never_started_does_not_appear(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts(resting=("r-a",)), monitor=MonitorMode.REST), grace_s=GRACE_S)
    assert by_id(driver) == {}


async def an_ended_one_that_is_not_asked_for_goes_at_once(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a")), grace_s=GRACE_S)
    bench.crash(UID, "r-a")
    await until(lambda: by_id(driver), lambda seen: not seen["r-a"].running)
    await driver.apply(lineup(), grace_s=GRACE_S)
    assert by_id(driver) == {}


async def one_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", version=STUBBORN)), grace_s=GRACE_S)
    await until(lambda: by_id(driver), lambda seen: seen["r-a"].pid > 0)
    await driver.apply(lineup(), grace_s=0.3)
    assert by_id(driver)["r-a"].draining
    await until(lambda: by_id(driver), lambda seen: seen == {})


async def a_drain_goes_on_under_the_next_driver(bench: Bench) -> None:
    first = bench.driver()
    await first.apply(lineup(hosts("r-a", version=STUBBORN)), grace_s=GRACE_S)
    await until(lambda: by_id(first), lambda seen: seen["r-a"].pid > 0)
    await first.apply(lineup(), grace_s=0.5)
    await first.close()
    second = bench.driver()
    assert by_id(second)["r-a"].draining
    await until(lambda: by_id(second), lambda seen: seen == {})


async def one_that_does_not_answer_can_be_ended_for_a_reason(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a", version=STUBBORN)), grace_s=GRACE_S)
    why = Failure("NOT_ANSWERING", "it did not answer for 30 s")
    await driver.kill(UID, "r-a", why)
    await until(lambda: by_id(driver), lambda seen: not seen["r-a"].running)
    assert by_id(driver)["r-a"].failure == why
    await driver.kill(UID, "r-nobody", why)


async def everybody_has_a_log(bench: Bench) -> None:
    driver = bench.driver()
    await driver.apply(lineup(hosts("r-a"), monitor=MonitorMode.RUN), grace_s=GRACE_S)
    assert (await driver.logs(UID, 10)).keys() == {"r-a", MONITOR}
    assert await driver.logs(OTHER_UID, 10) == {}


async def the_server_is_described(bench: Bench) -> None:
    offered = bench.driver().fingerprint()
    assert offered.cpu_millis >= 1000
    assert offered.memory_bytes > 1 << 28
    assert offered.architecture
    assert offered.driver_version


SCENARIOS = [
    nothing_is_observed_where_nothing_was_started,
    what_is_asked_for_runs,
    asking_again_changes_nothing,
    what_runs_outlives_the_driver_and_is_adopted,
    the_end_of_an_adopted_one_is_noticed,
    what_is_no_longer_asked_for_goes_without_a_trace,
    a_monitor_of_other_software_is_replaced,
    positions_do_not_touch_each_other,
    one_that_ended_stays_with_its_reason_and_may_be_started_again,
    one_that_is_killed_before_its_child_ends_and_may_be_started_again,
    the_end_of_an_adopted_one_is_noticed_before_its_child_ends,
    one_that_ends_by_itself_says_why,
    a_resting_one_that_was_never_started_does_not_appear,
    an_ended_one_that_is_not_asked_for_goes_at_once,
    one_that_ignores_sigterm_is_killed_after_the_grace,
    a_drain_goes_on_under_the_next_driver,
    one_that_does_not_answer_can_be_ended_for_a_reason,
    everybody_has_a_log,
    the_server_is_described,
]
