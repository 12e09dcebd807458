"""What a load asks for: what adds up is divided, what does not is learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_monitor.demand import (
    DEFAULT,
    EVIDENCE_S_MAX,
    USUAL,
    UTILIZATION_MAX,
    UTILIZATION_MAX_WAITING,
    UTILIZATION_MIN,
    Asked,
    Demand,
    Targets,
)
from position_monitor.usage import Usage
from position_monitor.window import Counts, Window

REPLICAS = ("r-a", "r-b", "r-c", "r-d")


class Bench:
    """A demand that hears the same of some replicas, second by second."""

    def __init__(self, targets: Targets = DEFAULT, current: int = 2) -> None:
        self.demand = Demand()
        self.targets = targets
        self.current = current
        self.now_s = 100.0

    def hears(self, *each: Counts, usage: dict[str, Usage] | None = None, serving: int | None = None) -> Asked | None:
        self.now_s += 1.0
        window = Window(dict(zip(REPLICAS, each, strict=False)))
        self.demand.hear(window, usage or {}, self.now_s)
        number = self.current if serving is None else serving
        return self.demand.asked(self.targets, USUAL, self.current, REPLICAS[:number], self.now_s)

    def number(self, *each: Counts, usage: dict[str, Usage] | None = None, serving: int | None = None) -> int:
        asked = self.hears(*each, usage=usage, serving=serving)
        assert asked is not None
        return asked.replicas


def inside(calls: float) -> Counts:
    return Counts(1.0, inside_s=calls, processes=1)


def busy(share: float, requests: int = 100, misses: int = 0, waiting_s: float = 0.0) -> Counts:
    """A host that runs one call at a time."""
    return Counts(
        1.0,
        requests=requests,
        deadline_misses=misses,
        inside_s=share + waiting_s,
        waiting_s=waiting_s,
        busy_s=share,
        processes=1,
    )


def test_what_adds_up_is_divided_by_its_target() -> None:
    assert Bench(Targets(concurrency=2.0)).number(inside(4.0), inside(3.0)) == 4
    assert Bench(Targets(concurrency=2.0)).number(inside(1.0), inside(0.5)) == 1


def test_a_mean_within_the_tolerance_of_its_target_asks_for_nothing() -> None:
    bench = Bench(Targets(concurrency=2.0))
    assert bench.number(inside(2.19), inside(2.19)) == bench.number(inside(1.81), inside(1.81)) == 2
    assert bench.number(inside(2.21), inside(2.21)) == 3


@given(st.integers(1, 64), st.floats(0.0, 500.0), st.floats(0.1, 50.0))
def test_the_number_does_not_depend_on_how_many_there_are_but_for_the_tolerance(
    current: int, calls: float, target: float
) -> None:
    bench = Bench(Targets(concurrency=target), current)
    asked = bench.hears(inside(calls), serving=1)
    assert asked is not None
    within = abs(calls / (target * current) - 1.0) <= 0.1 + 1e-9
    assert within or (asked.replicas - 1) * target <= calls + 1e-6
    assert within or asked.replicas * target >= calls - 1e-6


def test_cpu_and_memory_are_measured_against_what_a_replica_should_use() -> None:
    usage = {"r-a": Usage(0.9, 300 << 20), "r-b": Usage(0.9, 300 << 20)}
    cpu = Bench(Targets(cpu=0.5))
    assert cpu.hears(inside(1), inside(1), usage=usage) == Asked(4, "0.90 CPUs a replica, 0.50 is the target")
    memory = Bench(Targets(memory_bytes=100 << 20))
    assert memory.hears(inside(1), inside(1), usage=usage) == Asked(6, "300 MiB a replica, 100 MiB is the target")


def test_the_target_that_asks_for_most_decides() -> None:
    targets = Targets(cpu=0.5, concurrency=2.0)
    usage = {"r-a": Usage(0.1, 0), "r-b": Usage(0.1, 0)}
    asked = Bench(targets).hears(inside(6.0), inside(6.0), usage=usage)
    assert asked == Asked(6, "6.0 calls at a time a replica, 2 is the target")


def test_who_starts_is_counted_as_if_he_were_there() -> None:
    bench = Bench(Targets(concurrency=2.0), current=4)
    assert bench.number(inside(4.0), inside(4.0), serving=2) == 4, "what is measured now is answered already"
    assert bench.number(inside(6.0), inside(6.0), serving=2) == 6


def test_who_is_silent_is_no_reason_for_fewer() -> None:
    bench = Bench(Targets(concurrency=2.0), current=4)
    assert bench.number(inside(0.0), serving=4) == 3
    assert bench.number(inside(0.0), inside(0.0), inside(0.0), inside(0.0)) == 0


def test_who_cannot_be_seen_is_no_reason_for_fewer() -> None:
    bench = Bench(Targets(cpu=0.5), current=3)
    assert bench.number(inside(0.0), inside(0.0), inside(0.0), usage={"r-a": Usage(0.1, 0)}) == 3
    assert bench.number(inside(0.0), inside(0.0), inside(0.0), usage={}) == 3


def test_who_cannot_say_how_busy_he_is_is_not_idle() -> None:
    older = Counts(1.0, requests=100)
    assert Bench().hears(older, older) is None


def test_what_was_said_long_ago_counts_for_nothing() -> None:
    bench = Bench(Targets(concurrency=2.0))
    bench.hears(inside(9.0), inside(9.0))
    bench.now_s += 10.0
    assert bench.hears() is None


def test_for_the_sake_of_deadlines_replicas_are_kept_from_being_too_busy() -> None:
    assert Bench().number(busy(0.95), busy(0.95)) == 3
    assert Bench().number(busy(0.7), busy(0.7)) == 2
    assert Bench(current=4).number(busy(0.3), busy(0.3), busy(0.3), busy(0.3)) == 2


def test_who_refuses_because_he_must_is_asked_for_more_than_he_does() -> None:
    assert Bench().number(busy(1.0, 300, 200), busy(1.0, 300, 200)) == 9
    assert Bench().number(busy(1.0, 300, 299), busy(1.0, 300, 300)) == 12, "callers who try again are not a hundred"


def test_a_limit_is_lowered_where_deadlines_are_missed_although_it_is_kept() -> None:
    bench = Bench()
    numbers = [bench.number(busy(0.6, 100, 5), busy(0.6, 100, 5)) for _ in range(4)]
    assert numbers[0] == 2
    assert numbers[-1] == 3
    assert bench.demand.limit == pytest.approx(0.54)


@pytest.mark.parametrize("targets", [Targets(queue_time_s=0.005), Targets(concurrency=1.0)])
def test_a_limit_is_lowered_where_calls_wait_too_long_although_it_is_kept(targets: Targets) -> None:
    bench = Bench(targets)
    for _ in range(4):
        bench.hears(busy(0.6, waiting_s=0.4), busy(0.6, waiting_s=0.4))
    assert bench.demand.limit == UTILIZATION_MAX_WAITING
    for _ in range(4):
        bench.hears(busy(0.6, waiting_s=0.7), busy(0.6, waiting_s=0.7))
    assert bench.demand.limit == pytest.approx(0.54)


def test_a_load_that_has_just_come_does_not_speak_against_the_limit() -> None:
    bench = Bench()
    for second in range(30):
        came_late_in_it = busy(0.3, 100, 60)
        each = came_late_in_it if second == 15 else busy(1.0, 200, 100) if second > 15 else busy(0.0, 0)
        bench.hears(each, each)
    assert bench.demand.limit == UTILIZATION_MAX


def test_misses_of_a_second_that_was_too_busy_do_not_speak_against_the_limit() -> None:
    bench = Bench()
    for second in range(30):
        each = busy(1.0, 100, 50) if second % 10 == 0 else busy(0.1)
        bench.hears(each, each)
    assert bench.demand.limit == UTILIZATION_MAX


def test_calls_that_are_answered_are_divided_and_those_that_wait_are_not() -> None:
    bench = Bench(Targets(concurrency=2.0))
    each = Counts(1.0, requests=100, inside_s=30.0, waiting_s=28.0, busy_s=0.7, processes=1)
    assert bench.number(each, each) == 2


@pytest.mark.parametrize(
    "why_not",
    [
        busy(0.6, 1000, 5),  # no more than the target allows
        busy(0.6, 2, 0),
        busy(0.95, 100, 50),  # the limit is not kept: that is answered by the number, not by another limit
    ],
)
def test_a_limit_that_is_not_to_blame_stays(why_not: Counts) -> None:
    bench = Bench()
    for _ in range(30):
        bench.hears(why_not, why_not)
    assert bench.demand.limit == UTILIZATION_MAX


def test_a_limit_is_judged_by_replicas_that_are_all_there() -> None:
    bench = Bench(current=3)
    for _ in range(30):
        bench.hears(busy(0.6, 100, 50), busy(0.6, 100, 50), serving=2)
    assert bench.demand.limit == UTILIZATION_MAX


def test_a_single_miss_now_and_then_is_no_evidence() -> None:
    bench = Bench()
    for second in range(60):
        late = busy(0.1, 1, 1 if second % 5 == 0 else 0)
        bench.hears(late, busy(0.1, 1))
    assert bench.demand.limit == UTILIZATION_MAX


def test_replicas_that_are_mostly_idle_are_not_what_calls_wait_for() -> None:
    bench = Bench()
    numbers = [bench.number(busy(0.1, 100, 50), busy(0.1, 100, 50)) for _ in range(60)]
    assert bench.demand.limit == UTILIZATION_MIN
    assert set(numbers) == {1}


def test_a_limit_comes_back_by_itself() -> None:
    bench = Bench()
    for _ in range(4):
        bench.hears(busy(0.6, 100, 5), busy(0.6, 100, 5))
    lowered = bench.demand.limit
    for _ in range(round(2 * EVIDENCE_S_MAX)):
        bench.hears(busy(0.3), busy(0.3))
    assert lowered < bench.demand.limit < lowered + 0.01
    for _ in range(7200):
        bench.hears(busy(0.3), busy(0.3))
    assert bench.demand.limit == UTILIZATION_MAX


def test_who_has_least_to_do_goes_first_and_who_says_nothing_before_him() -> None:
    bench = Bench(current=3)
    bench.hears(inside(2.0), inside(0.5), inside(1.0))
    assert bench.demand.idlest(REPLICAS) == ["r-d", "r-b", "r-c", "r-a"]
