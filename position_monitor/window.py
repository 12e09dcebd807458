"""What was counted at a position in a stretch of time, replica by replica. Pure values that add up.

Hosts send counts once a second; xApps report closed loops when they like. All of it is added to one window, which is
taken and begun anew whenever metrics go up. So every call is counted in exactly one window, windows add up to minutes
upstream, and percentiles of the sum are as good as those of its parts: histograms are merged, never percentiles.

    window + later == the window of both stretches        (associative, EMPTY is neutral)

A window is as long as its samples say, not as long as the clock does: samples that were held up on the link (a
restarted monitor gets a minute's worth at once) make it longer instead of making the rates jump.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mesh import measures
from mesh.measures import Measures
from mesh.metrics import Histogram

LOOP_S_MAX = 3600.0  # the last bucket of a histogram; whoever reports more has mixed up his units


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one replica, or of all together."""

    length_s: float = 0.0
    """How long was counted."""
    requests: int = 0
    errors: int = 0
    deadline_misses: int = 0
    wasted_runs: int = 0
    """Calls that were run for nobody."""
    queue_depth: int = 0
    """Calls waiting at the end."""
    latency: Histogram = field(default_factory=Histogram)
    """Nobody changes it: sums make new ones."""
    inside_s: float = 0.0
    """That calls were inside, all of them together."""
    waiting_s: float = 0.0
    """That they waited for the model."""
    busy_s: float = 0.0
    """For which there was no room for more, all processes together."""
    processes: int = 0
    measures: Measures = field(default_factory=lambda: MappingProxyType({}))
    """What the template counted and measured itself."""

    @property
    def concurrency(self) -> float:
        """Calls inside at a time."""
        return self.inside_s / self.length_s if self.length_s else 0.0

    @property
    def waiting(self) -> float:
        """Those of them that wait for the model."""
        return self.waiting_s / self.length_s if self.length_s else 0.0

    @property
    def queue_time_s(self) -> float:
        """That a call waited for the model."""
        return self.waiting_s / max(1, self.requests)

    @property
    def utilization(self) -> float:
        """Share of what could have been done that was, 0..1."""
        possible_s = self.length_s * self.processes
        return min(1.0, self.busy_s / possible_s) if possible_s else 0.0

    def __add__(self, later: "Counts") -> "Counts":
        """One stretch after the other: the queue is that of the end."""
        both = measures.then(self.measures, later.measures)
        processes = later.processes or self.processes
        return self._sum(later, self.length_s + later.length_s, later.queue_depth, processes, both)

    def beside(self, other: "Counts") -> "Counts":
        """Two replicas at one time: the queues add up, the time does not, and gauges stand for one replica only."""
        both = measures.beside(self.measures, other.measures)
        length_s, processes = max(self.length_s, other.length_s), self.processes + other.processes
        return self._sum(other, length_s, self.queue_depth + other.queue_depth, processes, both)

    def _sum(self, other: "Counts", length_s: float, queue_depth: int, processes: int, both: Measures) -> "Counts":
        return Counts(
            length_s,
            self.requests + other.requests,
            self.errors + other.errors,
            self.deadline_misses + other.deadline_misses,
            self.wasted_runs + other.wasted_runs,
            queue_depth,
            _merged(self.latency, other.latency),
            self.inside_s + other.inside_s,
            self.waiting_s + other.waiting_s,
            self.busy_s + other.busy_s,
            processes,
            both,
        )


@dataclass(frozen=True, slots=True)
class Loop:
    """One closed loop, as an xApp reported it. Milliseconds; `deadline_ms` 0: none."""

    duration_ms: float
    deadline_ms: float = 0.0
    failed: bool = False

    @property
    def plausible(self) -> bool:
        """Both times are numbers that a loop can have."""
        times_ms = (self.duration_ms, self.deadline_ms)
        return all(math.isfinite(time_ms) and 0 <= time_ms <= LOOP_S_MAX * 1000 for time_ms in times_ms)


@dataclass(frozen=True, slots=True)
class Loops:
    """Closed loops together. `closed` holds the durations of those that ended in an action."""

    closed: Histogram = field(default_factory=Histogram)
    failed: int = 0
    late: int = 0

    @classmethod
    def of(cls, loops: Iterable[Loop]) -> "Loops":
        """Implausible ones are to be left out before."""
        closed, failed, late = Histogram(), 0, 0
        for loop in loops:
            failed += loop.failed
            late += 0 < loop.deadline_ms < loop.duration_ms
            if not loop.failed:
                closed.add(loop.duration_ms / 1000)
        return cls(closed, failed, late)

    def __add__(self, other: "Loops") -> "Loops":
        return Loops(_merged(self.closed, other.closed), self.failed + other.failed, self.late + other.late)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time at a position."""

    replicas: Mapping[str, Counts] = field(default_factory=lambda: MappingProxyType({}))
    """By replica id."""
    loops: Loops = field(default_factory=Loops)

    def __add__(self, later: "Window") -> "Window":
        replicas = dict(self.replicas)
        for replica, counts in later.replicas.items():
            replicas[replica] = replicas[replica] + counts if replica in replicas else counts
        return Window(MappingProxyType(replicas), self.loops + later.loops)

    @property
    def total(self) -> Counts:
        """All replicas together; as long as the longest of them."""
        total = Counts()
        for counts in self.replicas.values():
            total = total.beside(counts)
        return total


EMPTY = Window()


def _merged(one: Histogram, other: Histogram) -> Histogram:
    merged = Histogram()
    merged.merge(one)
    merged.merge(other)
    return merged
