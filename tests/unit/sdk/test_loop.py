"""Closed loops and their reports."""

import pytest

from waypost.errors import DeadlineExceeded, Invalid
from waypost.loop import (
    LOOPS_PENDING_MAX,
    LOOPS_PER_REPORT,
    Loop,
    LoopBuffer,
    LoopCount,
    LoopRecord,
    current_loop,
    time_for_call,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(duration_s: float = 0.01) -> LoopRecord:
    return LoopRecord(duration_s, 0.001, 0.1, False)


def test_a_loop_measures_itself_and_the_calls_to_its_own_position():
    ended, clock, position = [], Clock(), object()
    with Loop(position, 0.1, ended.append, clock) as loop:
        clock.now += 0.03
        loop.add_inference(position, 0.01)
        loop.add_inference(object(), 5.0)
        clock.now += 0.02
    clock.now += 5
    [told] = ended
    assert loop.elapsed_s == told.duration_s
    assert told.duration_s == pytest.approx(0.05)
    assert (told.inference_s, told.deadline_s, told.failed) == (0.01, 0.1, False)


def test_an_exception_means_that_the_action_was_not_taken():
    ended = []
    with pytest.raises(ZeroDivisionError), Loop(None, None, ended.append):
        _ = 1 / 0
    assert ended[0].failed


def test_a_loop_can_be_failed_without_an_exception():
    ended = []
    with Loop(None, None, ended.append) as loop:
        loop.fail()
    assert ended[0].failed


def test_the_inner_loop_counts_inside_and_the_outer_one_after():
    with Loop(None, 1.0, lambda _: None) as outer:
        with Loop(None, 0.5, lambda _: None) as inner:
            assert current_loop() is inner
        assert current_loop() is outer
    assert current_loop() is None


def test_a_call_gets_the_least_of_timeout_and_loop():
    clock = Clock()
    with Loop(None, 0.1, lambda _: None, clock) as loop:
        clock.now += 0.04
        assert time_for_call(None, 5.0, loop) == pytest.approx(0.06)
        assert time_for_call(0.02, 5.0, loop) == 0.02
        assert time_for_call(9.0, 5.0, loop) == pytest.approx(0.06)
    assert time_for_call(None, 5.0, None) == 5.0
    assert time_for_call(9.0, 5.0, None) == 9.0


def test_a_loop_without_deadline_leaves_calls_their_default():
    with Loop(None, None, lambda _: None) as loop:
        assert time_for_call(None, 5.0, loop) == 5.0


def test_a_call_after_the_loops_deadline_fails_at_once():
    clock = Clock()
    with Loop(None, 0.1, lambda _: None, clock) as loop:
        clock.now += 0.11
        with pytest.raises(DeadlineExceeded) as caught:
            time_for_call(None, 5.0, loop)
    assert caught.value.reason == "LOOP_DEADLINE_PASSED"


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_times_that_are_none_are_refused(timeout):
    with pytest.raises(Invalid):
        time_for_call(timeout, 5.0, None)
    with pytest.raises(Invalid):
        Loop(None, timeout, lambda _: None)


def test_a_report_carries_milliseconds():
    proto = LoopRecord(0.05, 0.01, 0.1, True).to_proto()
    assert (proto.duration_ms, proto.inference_ms, proto.deadline_ms, proto.failed) == (50, 10, 100, True)


def test_a_full_buffer_drops_the_oldest_and_counts_it():
    buffer = LoopBuffer()
    for index in range(LOOPS_PENDING_MAX + 3):
        buffer.add(record(index))
    assert buffer.count() == LoopCount(reported=0, pending=LOOPS_PENDING_MAX, dropped=3)
    assert buffer.take()[0].duration_s == 3


def test_every_record_is_pending_reported_or_dropped():
    buffer = LoopBuffer()
    for _ in range(LOOPS_PER_REPORT * 2 + 1):
        buffer.add(record())
    buffer.confirm(buffer.take())
    buffer.put_back(buffer.take())
    lost = buffer.take()
    assert len(lost) == LOOPS_PER_REPORT
    assert buffer.count() == LoopCount(reported=LOOPS_PER_REPORT, pending=1, dropped=LOOPS_PER_REPORT)


def test_what_is_put_back_comes_first_again():
    buffer = LoopBuffer()
    buffer.add(record(1))
    buffer.add(record(2))
    taken = buffer.take()
    buffer.add(record(3))
    buffer.put_back(taken)
    assert [r.duration_s for r in buffer.take()] == [1, 2, 3]
