"""Windows add up: whatever way time is cut, the sum says the same."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.measures import Kind, Measure
from mesh.metrics import Histogram
from position_monitor.window import EMPTY, Counts, Loop, Loops, Window

NUMBERS = st.integers(0, 10**6)
DURATIONS = st.lists(st.floats(1e-6, 100.0), max_size=8)


def histogram(durations_s: list[float]) -> Histogram:
    made = Histogram()
    for duration_s in durations_s:
        made.add(duration_s)
    return made


def counter(value: int) -> Measure:
    return Measure(Kind.COUNTER, "hits in the cache", float(value))


def gauge(value: int) -> Measure:
    return Measure(Kind.GAUGE, "", float(value))


COUNTS = st.builds(
    Counts,
    length_s=st.integers(0, 100).map(float),  # whole, so that sums do not depend on their order
    requests=NUMBERS,
    errors=NUMBERS,
    deadline_misses=NUMBERS,
    wasted_runs=NUMBERS,
    queue_depth=NUMBERS,
    latency=DURATIONS.map(histogram),
    inside_s=NUMBERS.map(float),
    waiting_s=NUMBERS.map(float),
    busy_s=NUMBERS.map(float),
    processes=st.integers(0, 4),
    measures=st.fixed_dictionaries({}, optional={"hits": NUMBERS.map(counter), "depth": NUMBERS.map(gauge)}),
)
LOOPS = st.lists(st.builds(Loop, st.floats(0, 1000), st.floats(0, 1000), st.booleans()), max_size=5)
WINDOWS = st.builds(
    Window, st.dictionaries(st.sampled_from(["r-aaaaaa", "r-bbbbbb", "r-cccccc"]), COUNTS), LOOPS.map(Loops.of)
)


def plain(window: Window) -> object:
    """Comparable: histograms have no equality of their own."""
    replicas = {replica: said(counts) for replica, counts in window.replicas.items()}
    return replicas, window.loops.closed.to_proto(), window.loops.failed, window.loops.late


def said(counts: Counts) -> object:
    numbers = (counts.requests, counts.errors, counts.deadline_misses, counts.wasted_runs, counts.queue_depth)
    own = {name: (measure.kind, measure.value) for name, measure in counts.measures.items()}
    spent = (counts.inside_s, counts.waiting_s, counts.busy_s, counts.processes)
    return counts.length_s, numbers, spent, counts.latency.to_proto(), own


@given(WINDOWS, WINDOWS, WINDOWS)
def test_it_makes_no_difference_how_time_is_cut(a: Window, b: Window, c: Window) -> None:
    assert plain((a + b) + c) == plain(a + (b + c))


@given(WINDOWS)
def test_an_empty_window_adds_nothing(window: Window) -> None:
    assert plain(EMPTY + window) == plain(window) == plain(window + EMPTY)


@given(WINDOWS, WINDOWS)
def test_adding_changes_neither_part(a: Window, b: Window) -> None:
    before = plain(a), plain(b)
    _ = a + b
    assert (plain(a), plain(b)) == before


@given(WINDOWS, WINDOWS)
def test_no_call_is_lost_or_counted_twice(a: Window, b: Window) -> None:
    total, parts = (a + b).total, (a.total, b.total)
    for figure in ("requests", "errors", "deadline_misses", "wasted_runs"):
        assert getattr(total, figure) == sum(getattr(part, figure) for part in parts)
    assert total.latency.total == sum(part.latency.total for part in parts)


@given(WINDOWS)
def test_counters_of_replicas_add_up_and_gauges_stay_theirs(window: Window) -> None:
    added = sum(c.measures["hits"].value for c in window.replicas.values() if "hits" in c.measures)
    assert window.total.measures.get("hits", counter(0)).value == added
    assert "depth" not in window.total.measures


@given(WINDOWS, WINDOWS)
def test_the_queue_is_that_of_the_end(a: Window, b: Window) -> None:
    latest = {**a.replicas, **b.replicas}
    assert (a + b).total.queue_depth == sum(counts.queue_depth for counts in latest.values())


@given(DURATIONS, DURATIONS, st.floats(0, 1))
def test_percentiles_of_a_sum_are_those_of_all_calls_together(
    one: list[float], other: list[float], share: float
) -> None:
    cut = Counts(latency=histogram(one)) + Counts(latency=histogram(other))
    assert cut.latency.percentile(share) == histogram(one + other).percentile(share)


def test_a_window_is_as_long_as_its_samples() -> None:
    held_up = EMPTY
    for _ in range(60):
        held_up += Window({"r-aaaaaa": Counts(1.0, requests=100), "r-bbbbbb": Counts(1.0, requests=50)})
    assert held_up.total.length_s == 60.0
    assert held_up.total.requests / held_up.total.length_s == 150


def test_a_loop_without_action_has_no_closed_loop_time() -> None:
    loops = Loops.of([Loop(10.0), Loop(20.0, deadline_ms=15.0), Loop(30.0, deadline_ms=15.0, failed=True)])
    assert (loops.closed.total, loops.failed, loops.late) == (2, 1, 2)


@pytest.mark.parametrize("duration_ms", [-1.0, math.nan, math.inf, 1e10])
def test_times_that_no_loop_can_have_are_seen(duration_ms: float) -> None:
    assert not Loop(duration_ms).plausible
    assert not Loop(1.0, deadline_ms=duration_ms).plausible
    assert Loop(1.0, deadline_ms=0.0).plausible


def test_replicas_beside_each_other_are_as_busy_as_their_mean() -> None:
    one, other = (Counts(2.0, requests=4, inside_s=6.0, waiting_s=2.0, busy_s=busy_s, processes=1) for busy_s in (2, 1))
    both = Window({"r-aaaaaa": one, "r-bbbbbb": other}).total
    assert (both.concurrency, both.waiting, both.queue_time_s, both.utilization) == (6.0, 2.0, 0.5, 0.75)


def test_nothing_counted_is_nothing_done() -> None:
    assert (Counts().concurrency, Counts().queue_time_s, Counts().utilization) == (0.0, 0.0, 0.0)
