"""A clock that has gone back is noticed, through restarts too, and believed again when the control plane says so."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.machine.wall_clock import NOTE_EVERY_S, TOLERANCE_S, WallClock
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE
from waypost.errors import Unavailable

NOW = 1_800_000_000.0
DAY_S = 86400.0


@dataclass
class Machine:
    """now: what its clock shows. kept: what its disk holds."""

    now: float = NOW
    kept: float = 0.0
    disk_fails: bool = False

    def start(self) -> WallClock:
        return WallClock(self.kept, self._keep, lambda: self.now)

    def _keep(self, newest: float) -> None:
        if self.disk_fails:
            raise Unavailable("STORAGE_FAILED", "the disk refuses")
        self.kept = newest


def test_a_clock_that_goes_back_while_the_box_is_off_is_noticed_and_said_with_what_to_do() -> None:
    machine = Machine()
    machine.start().look()
    machine.now -= DAY_S
    clock = machine.start()
    assert clock.behind_s == DAY_S
    said = clock.condition()
    assert (said.status, said.reason) == (CONDITION_STATUS_FALSE, "CLOCK_BEHIND")
    assert "its clock shows 2027-01-14 08:00 UTC, and it was 2027-01-15 08:00 UTC already" in said.message
    assert "NTP" in said.hint
    machine.now += DAY_S
    assert clock.condition().status == CONDITION_STATUS_TRUE


def test_a_clock_that_shows_less_than_the_certificate_is_behind_though_nothing_was_written_down() -> None:
    clock = Machine(now=0.0).start()
    clock.not_before(NOW)
    assert clock.behind_s == NOW


def test_a_clock_that_was_ahead_is_believed_again_when_the_control_plane_has_dated_something() -> None:
    machine = Machine(now=NOW + 400 * DAY_S)
    machine.start().look()
    machine.now = NOW
    clock = machine.start()
    assert clock.behind_s
    clock.dated(NOW - 1)
    assert not clock.behind_s
    assert not machine.start().behind_s


def test_what_a_time_service_sets_back_is_no_news() -> None:
    machine = Machine()
    clock = machine.start()
    clock.look()
    machine.now -= TOLERANCE_S
    assert not clock.behind_s


@given(st.lists(st.floats(min_value=0, max_value=2 * NOTE_EVERY_S), max_size=30))
def test_a_clock_that_goes_on_is_written_down_seldom_and_never_found_behind(steps: list[float]) -> None:
    machine = Machine()
    clock = machine.start()
    for step in steps:
        machine.now += step
        clock.look()
        assert machine.now - machine.kept < NOTE_EVERY_S
        assert not machine.start().behind_s


def test_a_disk_that_refuses_is_tried_again_with_the_next_look() -> None:
    machine = Machine(disk_fails=True)
    clock = machine.start()
    clock.look()
    assert machine.kept == 0.0
    machine.disk_fails = False
    clock.look()
    assert machine.kept == NOW
