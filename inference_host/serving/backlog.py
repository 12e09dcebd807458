"""What waits for a model, by urgency, with its sums. Pure.

A sorted list: nearly every call is due after those before it, so it is appended, and the next ones to go are a slice.
Whatever else is rare and costs a bisection.
"""

from bisect import bisect_left, bisect_right, insort_right
from collections.abc import Hashable, Sequence
from itertools import takewhile
from math import inf
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

NEVER = inf


class Job:
    """One call's work, as far as order and size go.

    rows and size (elements) go in, the latter is what its run time goes by. group: only jobs of equal groups go
    together; None: with no other. deadline: NEVER where it has none.
    """

    due = NEVER
    """What it is ordered by: no later than its deadline. Set by the queue, as are those below."""
    queued = 0.0
    """When it was offered."""
    run_s = 0.0
    """What a run of its own is expected to take."""
    waiting = False
    """Whether it is in the backlog."""

    def __init__(self, rows: int, size: int, bytes_: int, group: Hashable, deadline: float) -> None:
        self.rows = rows
        self.size = size
        self.bytes = bytes_
        self.group = group
        self.deadline = deadline


J = TypeVar("J", bound=Job)
_due = attrgetter("due")


class Load(NamedTuple):
    """Sums over some jobs."""

    run_s: float
    """Each by itself."""
    rows: int
    size: int


class Backlog(Generic[J]):
    """Jobs that are equally urgent stand in the order of their arrival."""

    def __init__(self) -> None:
        self.jobs: list[J] = []
        """The most urgent one first. To be read only."""
        self.rows = self.size = self.bytes = 0
        self.run_s = 0.0

    def __len__(self) -> int:
        return len(self.jobs)

    def add(self, job: J) -> None:
        jobs = self.jobs
        if not jobs or job.due >= jobs[-1].due:
            jobs.append(job)
        else:
            insort_right(jobs, job, key=_due)
        job.waiting = True
        self.rows += job.rows
        self.size += job.size
        self.bytes += job.bytes
        self.run_s += job.run_s

    def remove(self, job: J) -> None:
        """Takes out one that may be gone already."""
        if not job.waiting:
            return
        index = bisect_left(self.jobs, job.due, key=_due)
        while self.jobs[index] is not job:
            index += 1
        self.remove_all([job], index + 1)

    def remove_all(self, jobs: Sequence[J], among: int) -> None:
        """Takes out `jobs`, which stand in their order among the first `among`."""
        if self.jobs[len(jobs) - 1] is jobs[-1]:  # the first so many, as nearly always
            del self.jobs[: len(jobs)]
        else:
            taken = set(map(id, jobs))
            self.jobs[:among] = [job for job in self.jobs[:among] if id(job) not in taken]
        if not self.jobs:
            self.rows = self.size = self.bytes = 0
            self.run_s = 0.0  # sums of floats drift
        for job in jobs:
            job.waiting = False
            if self.jobs:
                self.rows -= job.rows
                self.size -= job.size
                self.bytes -= job.bytes
                self.run_s -= job.run_s

    def late(self, now: float) -> Sequence[J]:
        """Those whose deadline has passed."""
        if not self.jobs or self.jobs[0].due > now:
            return ()
        return [job for job in takewhile(lambda each: each.due <= now, self.jobs) if job.deadline <= now]

    def load(self, due: float = NEVER) -> Load:
        """Of those that are at least as urgent as one that is due then."""
        if not self.jobs or due >= self.jobs[-1].due:
            return Load(self.run_s, self.rows, self.size)
        ahead = self.jobs[: bisect_right(self.jobs, due, key=_due)]
        return Load(sum(job.run_s for job in ahead), sum(job.rows for job in ahead), sum(job.size for job in ahead))

    def earliest_deadline(self) -> float:
        """NEVER where there is none."""
        return min([job.deadline for job in self.jobs], default=NEVER)
