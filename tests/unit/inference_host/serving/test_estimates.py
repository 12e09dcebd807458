"""How long a run will take, and how long what waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.serving.estimates import MARGIN, OUTLIER, RUN_S_MIN, Estimates, Pace

sizes = st.integers(0, 1 << 40)
times = st.floats(1e-6, 1e3)


def test_nothing_is_known_at_first() -> None:
    assert Estimates().run_s(100) == 0.0


def test_what_was_measured_is_expected() -> None:
    estimates = Estimates([(16, 5e-6), (1024, 7e-6)])
    assert estimates.run_s(16) == estimates.run_s(31) == 5e-6
    assert estimates.run_s(1024) == 7e-6


def test_what_was_not_seen_takes_as_long_as_the_next_smaller_times_how_much_larger_it_is() -> None:
    estimates = Estimates([(16, 5e-6)])
    assert estimates.run_s(16 * 8) == pytest.approx(8 * 5e-6)


def test_what_is_smaller_than_all_that_was_seen_takes_as_long_as_the_smallest() -> None:
    assert Estimates([(16, 5e-6), (1024, 7e-6)]).run_s(1) == 5e-6


@given(sizes, times, st.floats(1e-6, 1e9))
def test_one_run_that_met_somebody_else_on_the_cpu_changes_little(size: int, usual_s: float, once_s: float) -> None:
    estimates = Estimates([(size, usual_s)])
    estimates.learn(size, once_s)
    assert estimates.run_s(size) <= usual_s * (1 + 0.1 * (OUTLIER - 1)) * 1.000001


@given(sizes, times, times)
def test_what_has_changed_for_good_is_learned(size: int, before_s: float, after_s: float) -> None:
    estimates = Estimates([(size, before_s)])
    for _ in range(400):
        estimates.learn(size, after_s)
    assert estimates.run_s(size) == pytest.approx(after_s, rel=0.01)


@given(st.lists(st.tuples(sizes, times), min_size=1), sizes)
def test_an_estimate_lies_within_what_was_seen_or_above_in_proportion(runs: list[tuple[int, float]], size: int) -> None:
    estimates = Estimates(runs)
    least = min(run_s for _, run_s in runs)
    assert estimates.run_s(size) >= least * 0.999999


def test_a_clock_that_saw_no_time_pass_leaves_something_to_learn_from() -> None:
    estimates = Estimates([(1, 0.0)])
    assert estimates.run_s(1) == RUN_S_MIN
    estimates.learn(1, 1.0)
    assert estimates.run_s(1) > RUN_S_MIN


class TestPace:
    """Between batches that leave others behind."""

    def test_at_first_what_waits_takes_as_long_as_its_runs(self) -> None:
        assert Pace().factor == 1.0

    def test_what_comes_on_top_of_the_runs_is_counted_with_a_margin(self) -> None:
        pace = Pace()
        for batch in range(100):
            pace.next(batch * 0.003, 0.002)
        assert pace.factor == pytest.approx(1.0 + MARGIN * 0.5)

    def test_several_batches_at_one_time_are_as_many_in_the_time_until_the_next(self) -> None:
        pace = Pace()
        for turn in range(200):
            pace.next(turn * 0.006, 0.002)
            pace.next(turn * 0.006, 0.002)
        assert pace.factor == pytest.approx(1.0 + MARGIN * 0.5, rel=0.1)

    def test_runs_that_were_faster_than_expected_are_no_reason_to_let_in_more(self) -> None:
        pace = Pace()
        for batch in range(100):
            pace.next(batch * 0.001, 0.002)
        assert pace.factor == 1.0

    def test_one_standstill_does_not_close_the_door(self) -> None:
        pace = Pace()
        for batch in range(100):
            pace.next(batch * 0.002, 0.002)
        pace.next(60.0, 0.002)
        assert pace.factor < 1.5

    def test_it_is_forgotten_when_nothing_waits(self) -> None:
        pace = Pace()
        for batch in range(10):
            pace.next(batch * 1.0, 0.002)
        assert pace.factor > 2.0
        pace.rest()
        assert pace.factor == 1.0
        pace.next(100.0, 0.002)
        assert pace.factor == 1.0
