"""What is counted: calls, errors of ours, missed deadlines, and where the time went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.serving.meter import ROWS_EXACT, Counts, Meter, Spent, Tally
from tests.unit.inference_host.planes import Clock
from waypost.errors import DeadlineExceeded, Exhausted, Internal, Invalid, MeshError, NotFound, Unavailable


def taken(tally: Tally) -> Counts:
    return Meter(Clock()).take([tally])


def failed(error: MeshError, *, late: bool = False) -> Counts:
    tally = Tally()
    tally.failed(error, 0.01, late=late)
    return taken(tally)


def test_a_call_is_counted_with_its_time() -> None:
    clock = Clock()
    meter, tally = Meter(clock), Tally()
    tally.answered([0.01, 0.01], 5, late=1, now=clock.now)
    clock.now += 2
    counts = meter.take([tally])
    assert (counts.requests, counts.errors, counts.deadline_misses) == (2, 0, 1)
    assert counts.latency.percentile(0.5) == pytest.approx(0.01, rel=0.1)
    assert counts.window_s == pytest.approx(2)


@pytest.mark.parametrize(("error", "errors"), [(Internal("X", ""), 1), (Exhausted("X", ""), 1), (Invalid("X", ""), 0)])
def test_only_errors_of_ours_are_errors(error: MeshError, errors: int) -> None:
    assert failed(error).errors == errors


@pytest.mark.parametrize("error", [NotFound("X", ""), Unavailable("X", "")])
def test_who_was_not_served_for_no_fault_of_the_model_counts_against_nobody(error: MeshError) -> None:
    tally = Tally()
    tally.refused(error, 0.0)
    counts = taken(tally)
    assert (counts.requests, counts.errors, counts.latency.total) == (1, 0, 0)


def test_a_call_that_ended_late_missed_its_deadline_however_it_ended() -> None:
    for counts in (failed(DeadlineExceeded("X", "")), failed(Internal("X", ""), late=True)):
        assert (counts.deadline_misses, counts.errors) == (1, 0)
    tally = Tally()
    tally.withdrawn(0.0, late=True)
    tally.withdrawn(0.0, late=False)
    assert (taken(tally).deadline_misses, tally.requests) == (1, 0)


def test_what_was_taken_is_not_taken_again_and_stays_in_the_statistics() -> None:
    meter, tally = Meter(Clock()), Tally()
    tally.answered([0.01], 1, late=0, now=100.0)
    assert [meter.take([tally]).requests for _ in range(2)] == [1, 0]
    tally.answered([0.02], 1, late=0, now=100.0)
    statistics = tally.statistics("m", "1", monotonic_offset_s=1000.0)
    assert statistics.success.count == statistics.latency.total == 2
    assert statistics.last_inference_ms == 1_100_000


def test_several_versions_are_one_window() -> None:
    meter, tallies = Meter(Clock()), [Tally(), Tally()]
    for tally in (*tallies, meter.elsewhere):
        tally.refused(NotFound("X", ""), 0.0)
    assert meter.take(tallies).requests == 3


def test_a_version_that_has_answered_nothing_says_so() -> None:
    statistics = Tally().statistics("m", "1", monotonic_offset_s=1000.0)
    assert (statistics.last_inference_ms, statistics.execution_count, statistics.batches) == (0, 0, {})


@given(st.lists(st.integers(0, 1 << 40)))
def test_runs_are_counted_in_a_bounded_number_of_sizes(rows: list[int]) -> None:
    tally = Tally()
    for each in rows:
        tally.ran(1, each, queue_s=0.0, input_s=0.0, infer_s=0.001, output_s=0.0, work_s=0.001)
    statistics = tally.statistics("m", "1", monotonic_offset_s=0.0)
    assert statistics.execution_count == len(rows)
    assert all(size <= ROWS_EXACT or size & (size - 1) == 0 for size in statistics.batches)
    assert sum(runs.compute_infer.count for runs in statistics.batches.values()) == len(rows)


def test_what_has_not_ended_is_counted_in_the_windows_that_it_spans() -> None:
    meter, tally = Meter(Clock()), Tally()
    assert meter.take([tally], Spent(2.0, 1.0, 0.5)).spent == (2.0, 1.0, 0.5)
    assert meter.take([tally], Spent(5.0, 1.0, 1.5)).spent == (3.0, 0.0, 1.0)
    tally.ran(1, 1, queue_s=1.0, input_s=0.0, infer_s=1.5, output_s=0.0, work_s=1.5)
    tally.answered([6.0], 1, late=0, now=100.0)
    assert meter.take([tally]).spent == pytest.approx((1.0, 0.0, 0.0))


def test_calls_that_were_not_run_have_been_here_as_well() -> None:
    tally = Tally()
    tally.waited(2.0)
    tally.withdrawn(3.0, late=False)
    tally.failed(DeadlineExceeded("X", ""), 4.0, late=True)
    assert taken(tally).spent == pytest.approx((7.0, 2.0, 0.0))


def test_a_host_is_as_busy_as_its_loop_or_its_model_whichever_is_more() -> None:
    spent_s = 10.0
    meter, tally = Meter(Clock(), lambda: spent_s), Tally()
    spent_s = 10.75
    tally.ran(1, 1, queue_s=0.0, input_s=0.0, infer_s=0.5, output_s=0.0, work_s=0.5)
    assert meter.take([tally]).busy_s == 0.75
    tally.ran(1, 1, queue_s=0.0, input_s=0.0, infer_s=0.5, output_s=0.0, work_s=0.5)
    assert meter.take([tally]).busy_s == 0.5
