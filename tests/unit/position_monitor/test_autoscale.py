"""A number of replicas inside its bounds, that changes no faster than rules allow."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_monitor.autoscale import DOWN, UP, Autoscaler, Autoscaling, Bounds, Policy, Rules, Select
from position_monitor.demand import Targets
from position_monitor.window import Counts, Window

BOUNDS = st.tuples(st.integers(1, 64), st.integers(1, 64)).map(lambda pair: Bounds(min(pair), max(pair)))
WIDE = Bounds(1, 64)
ONE_INSIDE = Targets(concurrency=1.0)
AT_ONCE = Rules(0.0, (Policy(1.0, share=100.0),))
FREE = Autoscaling(WIDE, ONE_INSIDE, up=AT_ONCE, down=AT_ONCE)


def ids(count: int) -> list[str]:
    return [f"r-{index:06}" for index in range(count)]


class Position:
    """Has the replicas that were chosen last, at once; each reports its part of the calls inside."""

    def __init__(self, wanted: Autoscaling, current: int = 1) -> None:
        self.wanted = wanted
        self.scaler = Autoscaler()
        self.current = current
        self.now_s = 1000.0
        self.why = ""

    def bears(self, inside: float, after_s: float = 1.0, serving: Collection[str] | None = None) -> int:
        self.now_s += after_s
        replicas = ids(self.current)
        counts = Counts(1.0, inside_s=inside / self.current, processes=1)
        self.scaler.demand.hear(Window(dict.fromkeys(replicas, counts)), {}, self.now_s)
        chosen = self.scaler.choose(self.wanted, self.current, replicas if serving is None else serving, self.now_s)
        self.current, self.why = chosen.replicas, chosen.why
        return self.current


@given(st.integers(0, 100), BOUNDS)
def test_a_number_is_held_inside_the_bounds_and_kept_where_it_is(number: int, bounds: Bounds) -> None:
    held = bounds.hold(number)
    assert bounds.replicas_min <= held <= bounds.replicas_max
    assert bounds.hold(held) == held
    assert held == number or not bounds.replicas_min <= number <= bounds.replicas_max


def test_numbers_are_told_in_words_that_follow_serves_with() -> None:
    assert Bounds(1, 1).told(1) == "1 replica"
    assert Bounds(2, 2).told(2) == "2 replicas"
    assert Bounds(1, 4).told(1) == "1 replica, the least that its spec allows"
    assert Bounds(1, 4).told(4) == "4 replicas, the most that its spec allows"
    assert Bounds(1, 4).told(3) == "3 replicas, inside 1..4"


@given(BOUNDS, st.lists(st.floats(0, 200), min_size=1, max_size=20))
def test_what_is_chosen_is_inside_the_bounds(bounds: Bounds, load: list[float]) -> None:
    position = Position(replace(FREE, bounds=bounds), bounds.replicas_min)
    for inside in load:
        assert bounds.replicas_min <= position.bears(inside) <= bounds.replicas_max


@given(st.lists(st.floats(0, 60), min_size=1, max_size=20), st.floats(1, 60))
def test_a_load_that_stays_is_answered_once_and_for_all(before: list[float], inside: float) -> None:
    position = Position(FREE)
    for each in before:
        position.bears(each)
    settled = position.bears(inside)
    assert settled >= inside / 1.1 - 1e-9, "nobody bears more than the target and its tolerance"
    assert [position.bears(inside) for _ in range(5)] == [settled] * 5


def test_more_load_is_followed_at_once_with_the_reason() -> None:
    position = Position(Autoscaling(WIDE, Targets(concurrency=4.0)))
    assert position.bears(4.0) == 1
    assert position.bears(12.0) == 3
    assert position.why == "12.0 calls at a time a replica, 4 is the target"


def test_a_lull_that_is_shorter_than_the_window_changes_nothing() -> None:
    position = Position(replace(FREE, down=replace(DOWN, window_s=60.0)))
    assert position.bears(8.0) == 8
    for _ in range(59):
        assert position.bears(2.0) == 8
    assert position.bears(3.0, after_s=2.0) == 3, "the most that was asked for in the window"


def test_a_peak_that_is_shorter_than_the_window_changes_nothing() -> None:
    position = Position(replace(FREE, up=replace(UP, window_s=10.0)))
    position.bears(1.0)
    assert [position.bears(9.0) for _ in range(9)] == [1] * 9
    assert position.bears(1.0) == 1
    later = [position.bears(9.0 - 0.7 * second) for second in range(10)]
    assert later == [1] * 9 + [3], "the least of the window"


def test_a_monitor_that_starts_again_gives_nothing_up_before_it_has_looked() -> None:
    position = Position(Autoscaling(WIDE, ONE_INSIDE), current=5)
    assert [position.bears(0.0, after_s=0.5) for _ in range(100)] == [5] * 100
    assert position.bears(0.0, after_s=20.0) == 1


def test_of_several_policies_the_largest_change_counts_unless_the_smallest_is_selected() -> None:
    policies = (Policy(15.0, replicas=4), Policy(15.0, share=1.0))
    largest, smallest = (Rules(0.0, policies, select) for select in (Select.LARGEST, Select.SMALLEST))
    assert Position(replace(FREE, up=largest), 2).bears(60.0) == 6
    assert Position(replace(FREE, up=smallest), 2).bears(60.0) == 4
    assert Position(replace(FREE, up=largest), 6).bears(60.0) == 12
    assert Position(replace(FREE, up=smallest), 6).bears(60.0) == 10


def test_a_direction_can_be_forbidden() -> None:
    never = Rules(0.0, UP.policies, Select.DISABLED)
    assert Position(replace(FREE, up=never), 2).bears(60.0) == 2
    assert Position(replace(FREE, down=never), 9).bears(1.0, after_s=120.0) == 9


def test_a_period_counts_what_changed_in_it() -> None:
    position = Position(replace(FREE, up=Rules(0.0, (Policy(10.0, replicas=2),))))
    assert [position.bears(60.0) for _ in range(12)] == [3, *[3] * 10, 5]


def test_what_went_down_in_a_period_may_come_back_in_it() -> None:
    position = Position(replace(FREE, up=Rules(0.0, (Policy(10.0, replicas=1),))), 8)
    assert position.bears(4.0) == 4
    assert position.bears(60.0) == 9, "one more than there were when the period began"


@given(st.lists(st.floats(0, 64), min_size=1, max_size=40), st.integers(1, 5), st.integers(1, 8))
def test_no_period_sees_a_larger_change_than_its_policy_allows(load: list[float], step: int, period_s: int) -> None:
    rules = Rules(0.0, (Policy(float(period_s), replicas=step),))
    position = Position(replace(FREE, up=rules, down=rules), 20)
    numbers = [20] * (period_s + 1)
    for inside in load:
        begun, before = numbers[-period_s - 1], numbers[-1]
        after = position.bears(inside)
        assert min(before, begun - step) <= after <= max(before, begun + step)
        numbers.append(after)


def test_bounds_that_have_changed_hold_at_once() -> None:
    position = Position(Autoscaling(Bounds(3, 5), ONE_INSIDE), 1)
    assert position.bears(0.0) == 3
    assert position.why == "its spec has other bounds"
    position.wanted = Autoscaling(Bounds(1, 2), ONE_INSIDE)
    assert position.bears(9.0) == 2


def test_what_asks_for_more_than_is_allowed_is_told_nevertheless() -> None:
    position = Position(Autoscaling(Bounds(1, 2), ONE_INSIDE))
    assert position.bears(9.0) == 2
    assert position.why.startswith("9.0 calls at a time")


def test_a_replica_that_starts_slowly_is_not_given_up_for_a_short_lull() -> None:
    position = Position(replace(FREE, down=replace(DOWN, window_s=0.0)), 2)
    position.scaler.see(["r-new"], [], 900.0)
    position.scaler.see([], ["r-new"], 940.0)
    position.bears(2.0)
    assert [position.bears(0.0, after_s=10.0) for _ in range(7)] == [2] * 7
    assert position.bears(0.0, after_s=10.0) == 1


@pytest.mark.parametrize("serving", [[], ["r-unheard"]])
def test_who_is_not_heard_changes_nothing(serving: list[str]) -> None:
    position = Position(replace(FREE, down=replace(DOWN, window_s=0.0)), 3)
    assert position.bears(0.0, serving=serving) == 3
