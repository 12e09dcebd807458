"""What waits for one model version, and what of it runs next. Pure: values in, decisions out, `now` is an argument.

    offer(job, now)        None: it waits; or why it is refused, before anything was spent on it
    take(now)              the next batch
    finished(batch, ...)   its slot is free, and what the run took is learned
    withdraw(job)          nobody wants its answer any more
    expire(now)            the jobs whose deadline has passed: to be told so, never to be run
    next_wake(now)         when to look again although nothing happens

**Never wait for nothing.** While a batch runs others queue; whatever has queued goes together, at once, as soon as a
slot is free. Only a fixed delay, which somebody must ask for, makes a free slot wait, and only until the batch is full
or its most urgent call would miss its deadline.

**Earliest deadline first.** A call without a deadline, or with a distant one, is ordered as if it had to be answered
`PATIENCE_S` after its arrival: urgent calls pass it, for so long at most. So nobody starves.

**What goes together.** Calls of one group (equal shapes behind the first axis), the most urgent ones first, up to
`rows_max` rows (rows count, not calls) and `BATCH_BYTES_MAX`; and not so many that the run would take longer than the
most urgent of them has left, or than the event loop may be held. A call that is larger by itself goes alone.

**Refused on arrival** is what a full queue has no room for, and what cannot be in time: what is ahead of it by order,
plus its own run, at the pace of late (estimates.py), against its deadline. The estimate of a run leans towards being
too low; what slips through expires in the queue.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic

from inference_host.serving.backlog import NEVER, Backlog, J, Load
from inference_host.serving.estimates import Estimates, Pace
from waypost.errors import RETRY_AFTER, DeadlineExceeded, MeshError, Unavailable

PATIENCE_S = 10.0  # longer than calls with a deadline usually have, shorter than a person's
LOOKAHEAD = 256  # calls that are looked at for one batch: bounds the search where all shapes differ
BATCH_BYTES_MAX = 1 << 20  # of inputs; above it a copy costs what a batch gains, and memory grows by batches in flight
QUEUE_CALLS_MAX = 1024  # each holds its tensors and a stream; more would only wait for their deadlines
QUEUE_ROWS_MAX = 4096  # default: four rows a call
QUEUE_BYTES_MAX = 256 << 20  # of inputs: four of the largest messages
SLACK = 2.0  # run times: what a batch that is kept open leaves to its most urgent call, since timers come late
TRIAL_S = 1.0  # how often an estimate that refuses calls by their own run is put to the test
RETRY_S_MIN, RETRY_S_MAX = 0.001, 10.0  # what a refused caller is told to wait, whatever the estimate says


@dataclass(frozen=True, slots=True)
class Batching:
    """What an operator may say about it."""

    delay_s: float = 0.0
    """How long calls are kept waiting for others to join. 0: not at all."""
    rows_max: int = 0
    """Rows that go together at most; 1: never several calls; 0: as many as were measured to pay."""
    queue_rows_max: int = QUEUE_ROWS_MAX
    """Rows that may wait."""


AT_ONCE = Batching()
"""No delay, as many rows as pay: what is right unless somebody knows better."""


class Batch(Generic[J]):
    """Jobs that run together, the most urgent first."""

    __slots__ = ("began", "jobs", "rows", "size", "until")

    def __init__(self, jobs: Sequence[J], rows: int, size: int, began: float, run_s: float) -> None:
        """run_s: what its run is expected to take."""
        self.jobs = jobs
        self.rows = rows
        self.size = size
        self.began = began
        self.until = began + run_s


class Queue(Generic[J]):
    """Of one model version, of which about `slots` batches run at a time."""

    def __init__(
        self,
        estimates: Estimates,
        *,
        rows_max: int = 1,
        delay_s: float = 0.0,
        queue_rows_max: int = QUEUE_ROWS_MAX,
        slots: int = 1,
        run_s_max: float = NEVER,
    ) -> None:
        """rows_max: 1 where batching is off. run_s_max: how long a run of several calls may take by estimate."""
        self.backlog: Backlog[J] = Backlog()
        """What waits. To be read only."""
        self._estimates = estimates
        self._rows_max = rows_max
        self._delay_s = delay_s if rows_max > 1 else 0.0
        self._queue_rows_max = queue_rows_max
        self._slots = slots
        self._run_s_max = run_s_max
        self._running: list[Batch[J]] = []
        self._pace = Pace()
        self._tried = -NEVER

    # -- in

    def offer(self, job: J, now: float) -> MeshError | None:
        """Takes `job` in, or says why not: DeadlineExceeded(TOO_LATE), Unavailable(QUEUE_FULL | OVERLOADED)."""
        deadline, backlog = job.deadline, self.backlog
        if deadline <= now:
            return too_late("before the model was asked")
        if not backlog.jobs:
            self._pace.rest()
        elif full := self._no_room(job):
            return self._full(full, now)
        job.run_s = run_s = self._estimates.run_s(job.size)
        job.due = deadline if deadline < now + PATIENCE_S else now + PATIENCE_S
        # Whoever could wait for all others, one by one, need not be looked at more closely.
        alone_s = (backlog.run_s + run_s) * self._pace.factor
        if (self._running or alone_s > deadline - now) and (estimate_s := self._too_long(job, alone_s, now)):
            return _overloaded(estimate_s, deadline - now)
        job.queued = now
        backlog.add(job)
        return None

    def _no_room(self, job: J) -> str:
        """The limit that `job` would break, in words; empty: none. An empty queue takes anything."""
        calls, backlog = len(self.backlog), self.backlog
        if calls >= QUEUE_CALLS_MAX:
            return f"{calls} calls wait already, at most {QUEUE_CALLS_MAX} may"
        if backlog.rows + job.rows > self._queue_rows_max:
            return f"{backlog.rows} rows wait already, at most {self._queue_rows_max} may (queue_rows_max)"
        if backlog.bytes + job.bytes > QUEUE_BYTES_MAX:
            return f"{backlog.bytes} bytes of inputs wait already, at most {QUEUE_BYTES_MAX} may"
        return ""

    def _full(self, why: str, now: float) -> Unavailable:
        wait_s = self._busy_s(now) + self._together_s(self.backlog.load())
        return Unavailable(
            "QUEUE_FULL", why, "send less, or add replicas; another one may be free", **_come_back_after(wait_s)
        )

    def _too_long(self, job: J, alone_s: float, now: float) -> float:
        """Seconds that `job` is expected to take where that is more than it has left; 0 where it can be in time.

        alone_s: what all that waits and `job` would take, one by one.
        """
        left_s = job.deadline - now
        if left_s == NEVER:
            return 0.0
        if job.run_s > left_s:
            return 0.0 if self._is_trial(now) else job.run_s
        busy_s = self._busy_s(now)
        if busy_s + alone_s / self._slots <= left_s:  # even as the last
            return 0.0
        run_s, rows, size = self.backlog.load(job.due)
        with_it = Load(run_s + job.run_s, rows + job.rows, size + job.size)
        in_all_s = busy_s + max(job.run_s, self._together_s(with_it))
        return in_all_s if in_all_s > left_s else 0.0

    def _is_trial(self, now: float) -> bool:
        """An estimate that refuses everything is never corrected: now and then a call is let in against it."""
        if now - self._tried < TRIAL_S:
            return False
        self._tried = now
        return True

    def _busy_s(self, now: float) -> float:
        """Seconds until a slot is free."""
        if len(self._running) < self._slots:
            return 0.0
        return max(0.0, min(running.until for running in self._running) - now)

    def _together_s(self, load: Load) -> float:
        """Seconds for some jobs, at the pace of late, in full batches as if all of them could go together."""
        return self._runs_s(load, max(1.0, load.rows / self._rows_max)) * self._pace.factor

    def _runs_s(self, load: Load, batches: float) -> float:
        """Seconds that the runs of some jobs take, all slots at work, when they are so many batches."""
        if self._rows_max == 1:
            return load.run_s / self._slots
        return batches * self._estimates.run_s(round(load.size / batches)) / self._slots

    # -- out

    def take(self, now: float) -> Batch[J] | None:
        """The next batch; None where nothing waits, or a batch is kept open for others (see next_wake).

        Call `expire` first: nothing that has expired may be left.
        """
        waiting = self.backlog.jobs
        if not waiting or (self._delay_s and now < self._closes_at()):
            return None
        if len(waiting) == 1 or self._rows_max == 1 or waiting[0].group is None:
            first = waiting[0]
            return self._begin([first], first.rows, first.size, now)
        return self._begin(*self._companions(now), now)

    def finished(self, batch: Batch[J], run_s: float | None) -> None:
        """run_s: seconds that the run took; None where that says nothing about the next one."""
        self._running.remove(batch)
        if run_s is not None:
            self._estimates.learn(batch.size, run_s)

    def work_s(self, batch: Batch[J], run_s: float) -> float:
        """For how long a run of `run_s` seconds left no room: its slot's share, and as part of a full batch."""
        together = max(1, batch.rows) / self._rows_max
        if together >= 1.0 or not (alone_s := self._estimates.run_s(batch.size)):
            return run_s / self._slots
        part_s = together * self._estimates.run_s(round(batch.size / together))
        return run_s * min(1.0, part_s / alone_s) / self._slots

    def open_work_s(self, now: float) -> float:
        """The same of what runs now, so far."""
        return sum([self.work_s(batch, now - batch.began) for batch in self._running])

    def withdraw(self, job: J) -> None:
        """Takes `job` out; nothing happens where it does not wait any more."""
        self.backlog.remove(job)

    def expire(self, now: float) -> Sequence[J]:
        """Takes out the jobs whose deadline has passed."""
        late = self.backlog.late(now)
        for job in late:
            self.backlog.remove(job)
        return late

    def next_wake(self, now: float) -> float:
        """When a deadline passes or a batch that is kept open closes; NEVER where nothing waits for either."""
        deadline = self.backlog.earliest_deadline()
        closes = self._closes_at() if self._delay_s and self.backlog.jobs else NEVER
        return min(deadline, closes) if closes > now else deadline

    def _companions(self, now: float) -> tuple[list[J], int, int]:
        """The most urgent job and those that go with it, their rows and their size."""
        jobs: list[J] = []
        rows = size = bytes_ = 0
        urgent = NEVER
        waiting = self.backlog.jobs
        group = waiting[0].group
        rows_max = self._rows_max
        for job in islice(waiting, LOOKAHEAD):
            if job.group != group:
                continue
            bytes_ += job.bytes
            if jobs and (rows + job.rows > rows_max or bytes_ > BATCH_BYTES_MAX):
                break  # nobody passes a more urgent one by being small
            jobs.append(job)
            rows += job.rows
            size += job.size
            if job.deadline < urgent:
                urgent = job.deadline
        room_s = min(urgent - now, self._run_s_max)
        while len(jobs) > 1 and self._estimates.run_s(size) > room_s:
            dropped = jobs.pop()
            rows -= dropped.rows
            size -= dropped.size
        return jobs, rows, size

    def _closes_at(self) -> float:
        """Until when a batch is kept open for others to join."""
        backlog = self.backlog
        if backlog.rows >= self._rows_max or backlog.jobs[0].group is None:
            return -NEVER
        oldest = min(job.queued for job in backlog.jobs)
        slack_s = SLACK * self._estimates.run_s(backlog.size)
        return min(oldest + self._delay_s, backlog.earliest_deadline() - slack_s)

    def _begin(self, jobs: list[J], rows: int, size: int, now: float) -> Batch[J]:
        assert min([job.deadline for job in jobs]) > now, "expire() comes before take()"
        self.backlog.remove_all(jobs, LOOKAHEAD)
        return self._started(Batch(jobs, rows, size, now, self._estimates.run_s(size)), now)

    def _started(self, batch: Batch[J], now: float) -> Batch[J]:
        self._running.append(batch)
        if self.backlog.jobs:
            load = Load(sum([job.run_s for job in batch.jobs]), batch.rows, batch.size)
            self._pace.next(now, self._runs_s(load, max(1, batch.rows) / self._rows_max))
        return batch


def too_late(when: str) -> DeadlineExceeded:
    return DeadlineExceeded("TOO_LATE", f"the deadline had passed {when}", "allow more time")


OVERLOADED = "OVERLOADED"
"""Reason of a refusal because of a deadline that could not be kept."""


def _overloaded(estimate_s: float, left_s: float) -> Unavailable:
    estimate_ms, left_ms = f"{estimate_s * 1e3:.3g}", f"{left_s * 1e3:.3g}"
    return Unavailable(
        OVERLOADED,
        f"it would be answered in about {estimate_ms} ms and has {left_ms} ms left: it was not tried",
        "ask another replica, send less, or allow more time",
        estimate_ms=estimate_ms,
        **_come_back_after(estimate_s - left_s),
    )


def _come_back_after(wait_s: float) -> dict[str, str]:
    wait_s = min(max(wait_s, RETRY_S_MIN), RETRY_S_MAX)
    return {RETRY_AFTER: str(math.ceil(wait_s * 1e3))}
