"""What is counted: calls, errors of ours, missed deadlines."""

import asyncio
from contextlib import suppress

import pytest

from inference_host.meter import Meter
from tests.unit.inference_host.planes import Clock
from waypost.errors import DeadlineExceeded, Internal, Invalid, NotFound, Unavailable


def counted(error: BaseException | None = None, *, took_s: float = 0.01, deadline_s: float | None = None) -> Meter:
    clock = Clock()
    meter = Meter(clock)
    with suppress(BaseException), meter.call() as measured:
        measured.deadline = None if deadline_s is None else clock.now + deadline_s
        clock.now += took_s
        if error is not None:
            raise error
    return meter


def test_a_call_is_counted_with_its_time() -> None:
    counts = counted(took_s=0.01).take()
    assert (counts.requests, counts.errors, counts.deadline_misses) == (1, 0, 0)
    assert counts.latency.percentile(0.5) == pytest.approx(0.01, rel=0.1)
    assert counts.window_s == pytest.approx(0.01)


@pytest.mark.parametrize(("error", "errors"), [(Internal("X", ""), 1), (ValueError(), 1), (Invalid("X", ""), 0)])
def test_only_errors_of_ours_are_errors(error: Exception, errors: int) -> None:
    assert counted(error).take().errors == errors


@pytest.mark.parametrize("error", [NotFound("X", ""), Unavailable("X", ""), asyncio.CancelledError()])
def test_who_was_not_served_for_no_fault_of_the_model_counts_against_nobody(error: BaseException) -> None:
    counts = counted(error).take()
    assert (counts.requests, counts.errors) == (1, 0)


def test_a_call_that_ended_late_missed_its_deadline_however_it_ended() -> None:
    for error in (None, DeadlineExceeded("X", ""), asyncio.CancelledError()):
        counts = counted(error, took_s=0.02, deadline_s=0.01).take()
        assert (counts.deadline_misses, counts.errors) == (1, 0)
    assert counted(took_s=0.01, deadline_s=0.02).take().deadline_misses == 0


def test_what_was_taken_is_not_taken_again() -> None:
    meter = counted()
    assert [meter.take().requests, meter.take().requests] == [1, 0]


def test_calls_in_flight_are_known() -> None:
    meter = Meter(Clock())
    with meter.call(), meter.call():
        assert meter.in_flight == 2
    assert meter.in_flight == 0
