"""What a host counts: calls, errors, missed deadlines, how long calls took and where.

A `Tally` for each model version, and one for calls that reached none. Each counts twice:
a window, which `Meter.take` empties for a sample up the link, and everything since the version was loaded, for the
statistics that clients may ask for. Successful calls are counted a batch at a time, because counting one costs as much
as answering it.

Nothing here grows with the number of calls: a histogram has 256 buckets, runs are told apart by `ROWS_EXACT` sizes and
the powers of two above.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import NamedTuple

from inference_host.values.calls import Duration, RunStatistics, Statistics
from mesh.metrics import Histogram
from waypost.errors import DataLoss, DeadlineExceeded, Exhausted, Internal, MeshError, Unknown

OURS = (Internal, Unknown, DataLoss, Exhausted)
"""Errors that speak against the model or the host; all others are the caller's, or say that nothing was tried."""

ROWS_EXACT = 64  # as large as batches of ours get; calls with more rows of their own are counted by their power of two


class Spent(NamedTuple):
    """Seconds, of several calls and runs together."""

    inside_s: float = 0.0
    """That calls have been here, waiting or being answered."""
    waiting_s: float = 0.0
    """That they have waited for the model."""
    work_s: float = 0.0
    """That runs have left no room for others: one of two threads for a second is half a second."""

    def plus(self, other: "Spent") -> "Spent":
        return Spent(self.inside_s + other.inside_s, self.waiting_s + other.waiting_s, self.work_s + other.work_s)

    def minus(self, other: "Spent") -> "Spent":
        """Never less than nothing: what a run has cost is known better when it is over."""
        return Spent(
            max(0.0, self.inside_s - other.inside_s),
            max(0.0, self.waiting_s - other.waiting_s),
            max(0.0, self.work_s - other.work_s),
        )


NOTHING = Spent()


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a window of `window_s` seconds."""

    window_s: float
    requests: int
    errors: int
    deadline_misses: int
    latency: Histogram
    """Of the calls that were not refused on arrival."""
    wasted_runs: int
    """Calls that were run for nobody: before the answer their callers had gone, or their deadlines had passed."""
    spent: Spent
    """Inside the window, by those that ended and by those that are here yet."""
    loop_s: float
    """CPU time of the event loop's thread."""

    @property
    def busy_s(self) -> float:
        """For how long there was no room for more."""
        return max(self.spent.work_s, self.loop_s)


class _Runs:
    """Runs of one size."""

    __slots__ = ("count", "infer_s", "input_s", "output_s")

    def __init__(self) -> None:
        self.count = 0
        self.input_s = self.infer_s = self.output_s = 0.0

    def statistics(self) -> RunStatistics:
        return RunStatistics(
            _duration(self.count, self.input_s),
            _duration(self.count, self.infer_s),
            _duration(self.count, self.output_s),
        )


class Tally:
    """Of one model version."""

    def __init__(self) -> None:
        self.requests = self.errors = self.deadline_misses = self.wasted_runs = 0
        """In this window."""
        self.latency = Histogram()
        """In this window."""
        self._withdrawn_s = self._waiting_s = self._work_s = 0.0
        self._before = Histogram()
        self._last = 0.0
        self._successes = self._failures = self._calls = self._rows = 0
        self._success_s = self._failure_s = 0.0
        self._queue_s = self._input_s = self._infer_s = self._output_s = 0.0
        self._runs: dict[int, _Runs] = {}

    def answered(self, took_s: Sequence[float], rows: int, *, late: int, now: float) -> None:
        """Calls of one run that were answered, each with its time; `late` of them after their deadline."""
        self.requests += len(took_s)
        self.deadline_misses += late
        self.latency.add_all(took_s)
        self._successes += len(took_s)
        self._success_s += sum(took_s)
        self._rows += rows
        self._last = now

    @property
    def spent(self) -> Spent:
        """In this window, by what ended in it."""
        return Spent(self.latency.sum_us / 1e6 + self._withdrawn_s, self._waiting_s, self._work_s)

    def ran(
        self, calls: int, rows: int, *, queue_s: float, input_s: float, infer_s: float, output_s: float, work_s: float
    ) -> None:
        """One run of so many calls. queue_s: the waiting of all of them together; the others: of the run.

        work_s: for how long it left no room for others.
        """
        self._waiting_s += queue_s
        self._work_s += work_s
        self._calls += calls
        self._queue_s += queue_s
        self._input_s += calls * input_s
        self._infer_s += calls * infer_s
        self._output_s += calls * output_s
        size = rows if rows <= ROWS_EXACT else 1 << (rows.bit_length() - 1)
        runs = self._runs.get(size)
        if runs is None:
            runs = self._runs[size] = _Runs()
        runs.count += 1
        runs.input_s += input_s
        runs.infer_s += infer_s
        runs.output_s += output_s

    def failed(self, error: MeshError, took_s: float, *, late: bool) -> None:
        """A call that was taken in and ended with an error."""
        self.refused(error, took_s, late=late)
        self.latency.add(took_s)

    def refused(self, error: MeshError, took_s: float, *, late: bool = False) -> None:
        """A call that was not taken in."""
        self.requests += 1
        self._failures += 1
        self._failure_s += took_s
        if late or isinstance(error, DeadlineExceeded):
            self.deadline_misses += 1
        elif isinstance(error, OURS):
            self.errors += 1

    def withdrawn(self, took_s: float, *, late: bool) -> None:
        """A call whose caller went away."""
        self.requests += 1
        self.deadline_misses += late
        self._withdrawn_s += took_s

    def waited(self, seconds: float) -> None:
        """A call that will not be run any more has waited so long."""
        self._waiting_s += seconds

    def empty_into(self, window: "Tally") -> None:
        """Adds this window to another one, and begins anew."""
        window.requests += self.requests
        window.errors += self.errors
        window.deadline_misses += self.deadline_misses
        window.wasted_runs += self.wasted_runs
        window.latency.merge(self.latency)
        window._withdrawn_s += self._withdrawn_s
        window._waiting_s += self._waiting_s
        window._work_s += self._work_s
        self._before.merge(self.latency)
        self.requests = self.errors = self.deadline_misses = self.wasted_runs = 0
        self._withdrawn_s = self._waiting_s = self._work_s = 0.0
        self.latency = Histogram()

    def statistics(self, name: str, version: str, *, monotonic_offset_s: float) -> Statistics:
        """monotonic_offset_s: what to add to the clock for Unix time."""
        latency = Histogram()
        latency.merge(self._before)
        latency.merge(self.latency)
        return Statistics(
            name=name,
            version=version,
            last_inference_ms=round((self._last + monotonic_offset_s) * 1e3) if self._last else 0,
            inference_count=self._rows,
            execution_count=sum(runs.count for runs in self._runs.values()),
            success=_duration(self._successes, self._success_s),
            fail=_duration(self._failures, self._failure_s),
            queue=_duration(self._calls, self._queue_s),
            compute_input=_duration(self._calls, self._input_s),
            compute_infer=_duration(self._calls, self._infer_s),
            compute_output=_duration(self._calls, self._output_s),
            batches={size: self._runs[size].statistics() for size in sorted(self._runs)},
            latency=latency,
        )


class Meter:
    """Of a host. For the event loop's thread."""

    def __init__(self, clock: Callable[[], float], cpu: Callable[[], float] = thread_time) -> None:
        """clock: seconds, rising. cpu: seconds that the calling thread has run."""
        self.elsewhere = Tally()
        """Calls that reached no model version, and what is left of versions that are gone."""
        self._clock = clock
        self._cpu = cpu
        self._began = clock()
        self._loop_s = cpu()
        self._open = NOTHING

    def take(self, tallies: Iterable[Tally], open_: Spent = NOTHING) -> Counts:
        """What was counted since the last time, in `tallies` and elsewhere. open_: by what has not ended yet."""
        window, now, loop_s = Tally(), self._clock(), self._cpu()
        for tally in (self.elsewhere, *tallies):
            tally.empty_into(window)
        counts = Counts(
            now - self._began,
            window.requests,
            window.errors,
            window.deadline_misses,
            window.latency,
            window.wasted_runs,
            window.spent.plus(open_).minus(self._open),
            loop_s - self._loop_s,
        )
        self._began, self._loop_s, self._open = now, loop_s, open_
        return counts


def _duration(count: int, seconds: float) -> Duration:
    return Duration(count, round(seconds * 1e9))
