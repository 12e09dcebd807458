"""What waits, and what of it runs next: the laws of the queue, and the reasons for its refusals."""

from collections.abc import Hashable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from inference_host.serving import batching
from inference_host.serving.backlog import NEVER, Job
from inference_host.serving.batching import BATCH_BYTES_MAX, PATIENCE_S, QUEUE_CALLS_MAX, SLACK, TRIAL_S, Batch, Queue
from inference_host.serving.estimates import Estimates
from waypost.errors import DeadlineExceeded, MeshError, Unavailable


def job(
    *, rows: int = 1, deadline: float = NEVER, group: Hashable = (), size: int | None = None, nbytes: int = 64
) -> Job:
    return Job(rows, 16 * rows if size is None else size, nbytes, group, deadline)


def queue_of(
    *, run_s: float = 0.001, rows_max: int = 8, delay_s: float = 0.0, queue_rows_max: int = 4096, slots: int = 1
) -> Queue[Job]:
    """As if a run of any size took `run_s`."""
    estimates = Estimates([(1 << octave, run_s) for octave in range(30)])
    return Queue(estimates, rows_max=rows_max, delay_s=delay_s, queue_rows_max=queue_rows_max, slots=slots)


def offered(queue: Queue[Job], *jobs: Job, now: float = 0.0) -> None:
    for each in jobs:
        assert queue.offer(each, now) is None


def refused(queue: Queue[Job], offer: Job, now: float = 0.0) -> MeshError:
    before = (len(queue.backlog), queue.backlog.rows, queue.backlog.bytes)
    error = queue.offer(offer, now)
    assert error is not None
    assert before == (len(queue.backlog), queue.backlog.rows, queue.backlog.bytes)
    assert not offer.waiting
    return error


def taken(queue: Queue[Job], now: float = 0.0) -> Batch[Job]:
    batch = queue.take(now)
    assert batch is not None
    return batch


class Life(RuleBasedStateMachine):
    """Any sequence of events. What was let in ends once: it runs, expires or is withdrawn."""

    @initialize(rows_max=st.integers(1, 8), slots=st.integers(1, 3), run_s=st.floats(0.0, 0.5))
    def begin(self, rows_max: int, slots: int, run_s: float) -> None:
        self.rows_max, self.slots = rows_max, slots
        self.queue = queue_of(run_s=run_s, rows_max=rows_max, slots=slots, queue_rows_max=64)
        self.now = 0.0
        self.waiting: list[Job] = []
        self.running: list[Batch[Job]] = []
        self.ended: list[Job] = []

    def end(self, *jobs: Job) -> None:
        for each in jobs:
            assert each not in self.ended, "told twice"
            self.ended.append(each)
            self.waiting.remove(each)

    @rule(
        rows=st.integers(0, 12),
        group=st.sampled_from([(), (3,), None]),
        left_s=st.one_of(st.just(NEVER), st.floats(-0.1, 20.0)),
        nbytes=st.sampled_from([0, 64, BATCH_BYTES_MAX // 2, BATCH_BYTES_MAX * 2]),
    )
    def offer(self, rows: int, group: Hashable, left_s: float, nbytes: int) -> None:
        each = job(rows=rows, group=group, deadline=self.now + left_s, nbytes=nbytes)
        error = self.queue.offer(each, self.now)
        if error is None:
            self.waiting.append(each)
        else:
            assert isinstance(error, Unavailable if each.deadline > self.now else DeadlineExceeded)

    @rule()
    def take(self) -> None:
        if len(self.running) == self.slots:
            return
        self.expire()
        before = sorted(self.waiting, key=lambda each: each.due)
        batch = self.queue.take(self.now)
        assert (batch is None) == (not before), "a free slot waits for nothing"
        if batch is None:
            return
        self.running.append(batch)
        self.end(*batch.jobs)
        self.check(batch, before)

    def check(self, batch: Batch[Job], before: list[Job]) -> None:
        jobs = list(batch.jobs)
        head, last = jobs[0], jobs[-1]
        assert head.due == before[0].due
        assert [each.due for each in jobs] == sorted(each.due for each in jobs)
        assert all(each.deadline > self.now for each in jobs)
        assert len({each.group for each in jobs}) == 1
        assert batch.rows == sum(each.rows for each in jobs)
        if len(jobs) > 1:
            assert head.group is not None
            assert batch.rows <= self.rows_max
            assert sum(each.bytes for each in jobs) <= BATCH_BYTES_MAX
        passed = [each for each in self.waiting if each.group == head.group and each.due < last.due]
        assert passed == [], "the most urgent of a group go first"

    @rule()
    def expire(self) -> None:
        late = self.queue.expire(self.now)
        assert set(late) == {each for each in self.waiting if each.deadline <= self.now}
        self.end(*late)

    @rule(which=st.integers(0, 100))
    def withdraw(self, which: int) -> None:
        if self.waiting:
            each = self.waiting[which % len(self.waiting)]
            self.queue.withdraw(each)
            self.queue.withdraw(each)
            self.end(each)

    @rule(took_s=st.one_of(st.none(), st.floats(0, 1)))
    def finish(self, took_s: float | None) -> None:
        if self.running:
            batch = self.running.pop(0)
            self.queue.withdraw(batch.jobs[0])
            self.queue.finished(batch, took_s)

    @rule(s=st.floats(0.0, 15.0))
    def pass_time(self, s: float) -> None:
        self.now += s

    @invariant()
    def counts_are_true(self) -> None:
        if hasattr(self, "queue"):
            assert len(self.queue.backlog) == len(self.waiting)
            assert self.queue.backlog.rows == sum(each.rows for each in self.waiting)
            assert self.queue.backlog.bytes == sum(each.bytes for each in self.waiting)
            assert self.queue.next_wake(self.now) == min([each.deadline for each in self.waiting], default=NEVER)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_most_urgent_call_goes_first() -> None:
    queue = queue_of(rows_max=1)
    late, soon, whenever = job(deadline=5.0), job(deadline=1.0), job()
    offered(queue, whenever, late, soon)
    assert [taken(queue).jobs[0] for _ in range(3)] == [soon, late, whenever]


def test_calls_of_equal_urgency_go_in_the_order_of_their_arrival() -> None:
    queue = queue_of(rows_max=1)
    jobs = [job(deadline=1.0) for _ in range(5)]
    offered(queue, *jobs)
    assert [taken(queue).jobs[0] for _ in jobs] == jobs


def test_a_call_without_a_deadline_is_passed_for_so_long_only() -> None:
    queue = queue_of(rows_max=1)
    patient = job()
    offered(queue, patient)
    offered(queue, job(deadline=PATIENCE_S + 1.0), now=PATIENCE_S + 0.5)
    assert taken(queue, PATIENCE_S + 0.5).jobs == [patient]


def test_a_distant_deadline_is_no_reason_to_starve_either() -> None:
    queue = queue_of(rows_max=1)
    distant, without = job(deadline=1e6), job()
    offered(queue, distant)
    offered(queue, without, now=1.0)
    assert taken(queue, 1.0).jobs == [distant]


def test_rows_are_counted_and_not_calls() -> None:
    queue = queue_of(rows_max=8)
    jobs = [job(rows=3) for _ in range(4)]
    offered(queue, *jobs)
    assert [list(taken(queue).jobs) for _ in range(2)] == [jobs[:2], jobs[2:]]


def test_a_call_with_more_rows_than_a_batch_may_have_goes_alone() -> None:
    queue = queue_of(rows_max=8)
    large, small = job(rows=100), job()
    offered(queue, large, small)
    assert taken(queue).jobs == [large]
    assert taken(queue).jobs == [small]


def test_only_equal_shapes_go_together() -> None:
    queue = queue_of()
    short, long = [job(group=(8,)) for _ in range(2)], [job(group=(9,)) for _ in range(2)]
    offered(queue, short[0], long[0], short[1], long[1])
    assert [list(taken(queue).jobs) for _ in range(2)] == [short, long]


def test_what_goes_with_no_other_goes_alone() -> None:
    queue = queue_of()
    jobs = [job(group=None) for _ in range(2)]
    offered(queue, *jobs)
    assert taken(queue).jobs == jobs[:1]


def test_a_batch_closes_before_its_most_urgent_call_would_be_late() -> None:
    """A run of 16 elements takes 10 ms, of up to 63 takes 20 ms, of up to 127 takes 40 ms."""
    estimates = Estimates([(16, 0.01), (32, 0.02), (64, 0.04)])
    queue: Queue[Job] = Queue(estimates, rows_max=8)
    jobs = [job(deadline=0.03), *(job() for _ in range(7))]
    offered(queue, *jobs)
    assert taken(queue).jobs == jobs[:3]


def test_a_batch_is_no_longer_than_the_event_loop_may_be_held() -> None:
    queue: Queue[Job] = Queue(Estimates([(16, 0.0001), (64, 0.0004)]), rows_max=8, run_s_max=0.0003)
    offered(queue, *(job() for _ in range(8)))
    assert taken(queue).rows == 3


def test_a_deadline_that_has_passed_is_refused() -> None:
    error = refused(queue_of(), job(deadline=1.0), now=1.0)
    assert isinstance(error, DeadlineExceeded)
    assert error.reason == "TOO_LATE"


def test_what_expires_in_the_queue_is_given_back_and_never_runs() -> None:
    queue = queue_of()
    late, other = job(deadline=1.0), job()
    offered(queue, late, other)
    assert list(queue.expire(1.0)) == [late]
    assert taken(queue, 1.0).jobs == [other]


def test_a_withdrawal_takes_out_that_very_call() -> None:
    queue = queue_of(rows_max=1)
    jobs = [job(deadline=1.0) for _ in range(3)]
    offered(queue, *jobs)
    queue.withdraw(jobs[1])
    assert [taken(queue).jobs[0] for _ in range(2)] == [jobs[0], jobs[2]]
    assert queue.take(0.0) is None


@pytest.mark.parametrize("limit", ["calls", "rows", "bytes"])
def test_a_full_queue_refuses_and_says_which_limit_it_is(limit: str) -> None:
    queue = queue_of(queue_rows_max=4096)
    match limit:
        case "calls":
            offered(queue, *(job(rows=0) for _ in range(QUEUE_CALLS_MAX)))
            error = refused(queue, job())
        case "rows":
            offered(queue, job(rows=4000))
            error = refused(queue, job(rows=97))
            assert "queue_rows_max" in error.message
        case _:
            offered(queue, job(nbytes=batching.QUEUE_BYTES_MAX - 10))
            error = refused(queue, job(nbytes=11))
    assert isinstance(error, Unavailable)
    assert error.reason == "QUEUE_FULL"
    assert limit in error.message
    assert int(error.metadata["retry_after_ms"]) >= 1


def test_an_empty_queue_takes_what_is_larger_than_its_limits() -> None:
    offered(queue_of(queue_rows_max=8), job(rows=100))


def test_how_long_to_wait_is_what_the_queue_is_expected_to_take() -> None:
    queue = queue_of(run_s=0.1, rows_max=1, queue_rows_max=5, slots=1)
    offered(queue, *(job() for _ in range(5)))
    assert refused(queue, job()).metadata["retry_after_ms"] == "500"


def test_who_would_be_too_late_is_told_to_come_back_when_he_would_not() -> None:
    queue = queue_of(run_s=0.25, rows_max=1)
    offered(queue, *(job(deadline=deadline) for deadline in (0.25, 0.5)))
    error = refused(queue, job(deadline=0.625))
    assert (error.reason, error.metadata["retry_after_ms"]) == ("OVERLOADED", "125")


def test_what_is_behind_it_in_order_is_not_counted() -> None:
    queue = queue_of(run_s=0.1, rows_max=1)
    offered(queue, *(job(deadline=5.0) for _ in range(20)))
    offered(queue, job(deadline=0.15))


def test_what_cannot_be_in_time_after_what_is_ahead_is_refused_with_the_estimate() -> None:
    queue = queue_of(run_s=0.1, rows_max=1)
    offered(queue, *(job(deadline=deadline) for deadline in (0.2, 0.3, 0.35)))
    error = refused(queue, job(deadline=0.39))
    assert (type(error), error.reason, error.metadata["estimate_ms"]) == (Unavailable, "OVERLOADED", "400")
    offered(queue, job(deadline=0.41))


def test_what_runs_is_counted_until_it_should_end() -> None:
    queue = queue_of(run_s=0.1, rows_max=1)
    offered(queue, job())
    taken(queue, 0.0)
    assert refused(queue, job(deadline=0.15), now=0.0).reason == "OVERLOADED"
    offered(queue, job(deadline=0.2), now=0.06)


def test_calls_that_go_together_are_counted_together() -> None:
    queue = queue_of(run_s=0.1, rows_max=8)
    offered(queue, *(job(deadline=5.0) for _ in range(7)))
    offered(queue, job(deadline=0.11))


def test_a_run_leaves_as_little_room_as_its_part_of_a_full_batch() -> None:
    estimates = Estimates([(4, 0.1), (32, 0.2)])
    queue: Queue[Job] = Queue(estimates, rows_max=8, slots=2)
    offered(queue, job())
    assert queue.work_s(taken(queue), 0.1) == pytest.approx(0.1 * (0.2 / 8) / 0.1 / 2)
    offered(queue, *(job() for _ in range(8)))
    assert queue.work_s(taken(queue), 0.3) == pytest.approx(0.15)


def test_a_run_of_a_model_that_takes_one_call_at_a_time_leaves_no_room() -> None:
    queue = queue_of(run_s=0.1, rows_max=1)
    offered(queue, job())
    batch = taken(queue, 1.0)
    assert queue.open_work_s(3.0) == queue.work_s(batch, 2.0) == 2.0
    queue.finished(batch, 2.0)
    assert queue.open_work_s(4.0) == 0.0


def test_more_slots_do_more_at_a_time() -> None:
    queue = queue_of(run_s=0.1, rows_max=1, slots=4)
    offered(queue, *(job(deadline=0.3) for _ in range(8)))


def test_an_estimate_that_refuses_calls_by_their_own_run_is_tested_now_and_then() -> None:
    queue = queue_of(run_s=0.1)
    offered(queue, job(deadline=0.05))
    assert refused(queue, job(deadline=0.05)).reason == "OVERLOADED"
    queue.finished(taken(queue), 0.001)
    later = TRIAL_S + 0.001
    offered(queue, job(deadline=later + 0.06), now=later)


def test_a_queue_that_knows_nothing_refuses_nothing() -> None:
    offered(Queue(Estimates()), job(deadline=1e-9))


class TestFixedDelay:
    """For those who asked for it."""

    def test_a_batch_is_kept_open_until_the_delay_is_over(self) -> None:
        queue = queue_of(delay_s=0.005)
        offered(queue, job(), now=1.0)
        offered(queue, job(), now=1.002)
        assert queue.take(1.004) is None
        closes = queue.next_wake(1.004)
        assert closes == pytest.approx(1.005)
        assert taken(queue, closes).rows == 2

    def test_a_full_batch_goes_at_once(self) -> None:
        queue = queue_of(delay_s=0.005, rows_max=2)
        offered(queue, job(), job())
        assert taken(queue).rows == 2

    def test_it_closes_in_time_for_its_most_urgent_call(self) -> None:
        queue = queue_of(run_s=0.001, delay_s=1.0)
        offered(queue, job(), job(deadline=0.010))
        assert queue.take(0.007) is None
        closes = queue.next_wake(0.007)
        assert closes == pytest.approx(0.010 - SLACK * 0.001)
        assert taken(queue, closes).rows == 2

    def test_what_waited_for_a_slot_has_waited(self) -> None:
        queue = queue_of(delay_s=0.005, rows_max=8)
        offered(queue, job(), now=0.0)
        assert taken(queue, 1.0).rows == 1

    def test_what_goes_with_no_other_is_not_kept_waiting(self) -> None:
        queue = queue_of(delay_s=0.005)
        offered(queue, job(group=None))
        assert taken(queue).rows == 1

    def test_nobody_waits_where_calls_never_go_together(self) -> None:
        queue = queue_of(delay_s=0.005, rows_max=1)
        offered(queue, job())
        assert taken(queue).rows == 1

    def test_a_batch_that_should_have_closed_does_not_wake_anybody_again(self) -> None:
        queue = queue_of(delay_s=0.005)
        offered(queue, job())
        assert queue.next_wake(0.006) == NEVER
