"""What a host counts: calls, errors, missed deadlines, how long calls took, how many wait.

Each infer call of any face is one `with meter.call() as measured:` from its last byte read to its answer built; its
deadline is set when it is known. `take` gives what was counted since the last time, for a sample up the link.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mesh.metrics import Histogram
from waypost.errors import DataLoss, DeadlineExceeded, Exhausted, Internal, MeshError, Unknown

OURS = (Internal, Unknown, DataLoss, Exhausted)
"""Errors that speak against the model or the host; all others are the caller's, or say that nothing was tried."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a window of `window_s` seconds."""

    window_s: float
    requests: int
    errors: int
    deadline_misses: int
    latency: Histogram


class Meter:
    """clock: seconds, rising; deadlines are read on the same one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.in_flight = 0
        self._reset()

    def call(self) -> "Measured":
        return Measured(self)

    def take(self) -> Counts:
        counts = Counts(self.clock() - self._began, self._requests, self._errors, self._deadline_misses, self._latency)
        self._reset()
        return counts

    def _reset(self) -> None:
        self._began = self.clock()
        self._requests = self._errors = self._deadline_misses = 0
        self._latency = Histogram()

    def begin(self) -> None:
        self.in_flight += 1

    def end(self, took_s: float, error: BaseException | None, *, late: bool) -> None:
        self.in_flight -= 1
        self._requests += 1
        self._latency.add(took_s)
        if isinstance(error, DeadlineExceeded) or late:
            self._deadline_misses += 1
        elif isinstance(error, OURS) or (isinstance(error, Exception) and not isinstance(error, MeshError)):
            self._errors += 1


class Measured:
    """One call, while it is in flight."""

    __slots__ = ("_began", "_meter", "deadline")

    def __init__(self, meter: Meter) -> None:
        self.deadline: float | None = None
        """On the meter's clock."""
        self._meter = meter
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = self._meter.clock()
        self._meter.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        now = self._meter.clock()
        late = self.deadline is not None and now >= self.deadline
        self._meter.end(now - self._began, error, late=late)
