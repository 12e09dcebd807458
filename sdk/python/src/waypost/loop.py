"""Closed loops: from the xApp reading its data to its action done.

`with position.loop(deadline_s=0.1) as loop:` is one loop. Its deadline bounds every call made inside it, its time goes
to the position's monitor in the background. An exception that leaves the block means that the action was not taken.

Nothing here waits: a loop that ends leaves a record in a bounded buffer, and whoever empties the buffer is never in
the loop's way. When the buffer is full the oldest record goes, and is counted.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from waypost.api.xapp.v1 import access_pb2
from waypost.errors import DeadlineExceeded, Invalid

LOOPS_PENDING_MAX = 2000  # 20 s of loops at 100 per second, while the monitor restarts
LOOPS_PER_REPORT = 500  # about 20 KB
REPORT_PACE_S = 1.0  # the monitor looks at its figures once a second
REPORT_TIMEOUT_S = 2.0
FLUSH_S = 1.0  # closing may take this long to deliver the last reports

_current: ContextVar["Loop | None"] = ContextVar("waypost_loop", default=None)


@dataclass(frozen=True, slots=True)
class LoopRecord:
    """One loop that ended. Seconds; deadline 0 for none."""

    duration_s: float
    inference_s: float
    deadline_s: float
    failed: bool

    def to_proto(self) -> access_pb2.LoopReport:
        return access_pb2.LoopReport(
            duration_ms=self.duration_s * 1e3,
            inference_ms=self.inference_s * 1e3,
            deadline_ms=self.deadline_s * 1e3,
            failed=self.failed,
        )


@dataclass(frozen=True, slots=True)
class LoopCount:
    """What became of the loops of a connection so far."""

    reported: int
    pending: int
    dropped: int
    """Never reported: the buffer was full, or the answer to a report was lost."""


class Loop:
    """One closed loop, measured from entering the block to leaving it.

    deadline_s: seconds that the loop may take; None for no deadline.
    Calls in threads started inside the block do not see the loop: give them `timeout=loop.remaining_s`.
    """

    def __init__(
        self,
        position: object,
        deadline_s: float | None,
        ended: Callable[[LoopRecord], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if deadline_s is not None and not deadline_s > 0:
            raise Invalid("BAD_DEADLINE", f"deadline_s must be more than 0, got {deadline_s}", "leave it out for none")
        self.deadline_s = deadline_s
        self._position = position
        self._ended = ended
        self._clock = clock
        self._started = 0.0
        self._left: float | None = None
        self._inference_s = 0.0
        self._failed = False
        self._outer: Token[Loop | None] | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the block was entered; once it was left, how long it took."""
        return (self._clock() if self._left is None else self._left) - self._started

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, below 0 once it has passed; None where there is none."""
        return None if self.deadline_s is None else self.deadline_s - self.elapsed_s

    def fail(self) -> None:
        """Say that the action was not taken, where no exception says so."""
        self._failed = True

    def add_inference(self, position: object, seconds: float) -> None:
        """A call took this long. Calls to other positions count for the deadline only."""
        if position is self._position:
            self._inference_s += seconds

    def __enter__(self) -> Self:
        self._started, self._left = self._clock(), None
        self._outer = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._outer is not None
        _current.reset(self._outer)
        self._left = self._clock()
        failed = self._failed or error is not None
        self._ended(LoopRecord(self.elapsed_s, self._inference_s, self.deadline_s or 0.0, failed))

    def __repr__(self) -> str:
        return f"Loop(deadline_s={self.deadline_s})"


def current_loop() -> Loop | None:
    """The loop that this thread or task is in."""
    return _current.get()


def time_for_call(timeout_s: float | None, default_s: float, loop: Loop | None) -> float:
    """Seconds that a call may take: its own timeout, the loop's remaining time or the default, whichever says less.

    Raises: Invalid(BAD_TIMEOUT); DeadlineExceeded(LOOP_DEADLINE_PASSED) where the loop is over time already.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise Invalid("BAD_TIMEOUT", f"timeout must be more than 0 seconds, got {timeout_s}")
    remaining_s = loop.remaining_s if loop else None
    if remaining_s is None:
        return default_s if timeout_s is None else timeout_s
    if remaining_s <= 0:
        assert loop is not None
        raise DeadlineExceeded(
            "LOOP_DEADLINE_PASSED",
            f"the closed loop's {loop.deadline_s} s were over before the call",
            "give the loop more time, or do less before the call",
        )
    return remaining_s if timeout_s is None else min(timeout_s, remaining_s)


@dataclass(slots=True)
class LoopBuffer:
    """Records that wait to be reported. Thread-safe; no call waits for anything but the lock of another such call."""

    _records: deque[LoopRecord] = field(default_factory=deque)
    _reported: int = 0
    _dropped: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, record: LoopRecord) -> None:
        with self._lock:
            self._records.append(record)
            self._shed()

    def take(self) -> list[LoopRecord]:
        """The oldest records, one report's worth at most: dropped, unless `confirm` or `put_back` follows."""
        with self._lock:
            taken = [self._records.popleft() for _ in range(min(LOOPS_PER_REPORT, len(self._records)))]
            self._dropped += len(taken)
            return taken

    def confirm(self, taken: list[LoopRecord]) -> None:
        """They reached the monitor."""
        with self._lock:
            self._dropped -= len(taken)
            self._reported += len(taken)

    def put_back(self, taken: list[LoopRecord]) -> None:
        """They certainly did not reach it: try again."""
        with self._lock:
            self._dropped -= len(taken)
            self._records.extendleft(reversed(taken))
            self._shed()

    def count(self) -> LoopCount:
        with self._lock:
            return LoopCount(self._reported, len(self._records), self._dropped)

    def _shed(self) -> None:
        while len(self._records) > LOOPS_PENDING_MAX:
            self._records.popleft()
            self._dropped += 1
