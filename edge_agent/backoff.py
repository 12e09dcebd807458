"""When to try again what failed: a process that ended, a file that could not be fetched. Pure."""

from dataclasses import dataclass

FIRST_S = 1.0
LONGEST_S = 60.0
HEALTHY_S = 60.0  # who lived that long did not die of how it was started


def delay_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: none after none, 1 s after the first, doubling up to 60 s."""
    return 0.0 if failures == 0 else min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 10))


@dataclass(frozen=True, slots=True)
class Restarts:
    """How the starts of one process went. Times are the event loop's."""

    starts: int = 0
    """Starts whose end is taken into account."""
    failures: int = 0
    """Ends in a row, none of them after a healthy minute."""
    due_s: float = 0.0
    """Not to be started before."""

    def after_end(self, starts: int, *, lived_s: float, now_s: float) -> "Restarts":
        """Start number `starts` has ended; the same object where that was known. One that was healthy comes back at
        once: whatever killed it did not come with it.
        """
        if starts <= self.starts:
            return self
        failures = 0 if lived_s >= HEALTHY_S else self.failures + 1
        return Restarts(starts, failures, now_s + delay_s(failures))
