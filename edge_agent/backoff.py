"""When to try again what failed: a process that ended, a file that could not be fetched. Pure."""

from dataclasses import dataclass, field

from mesh.restarts import Ends

FIRST_S = 1.0
LONGEST_S = 60.0


def delay_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: none after none, 1 s after the first, doubling up to 60 s."""
    return 0.0 if failures == 0 else min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 10))


@dataclass(frozen=True, slots=True)
class Restarts:
    """How the starts of one process went. Times are the event loop's."""

    starts: int = 0
    """Starts whose end is taken into account."""
    failures: int = 0
    """Starts in a row that came to nothing."""
    ends: Ends = field(default_factory=Ends)
    due_s: float = 0.0
    """Not to be started before."""

    def after_end(self, starts: int, *, was_well: bool, now_s: float) -> "Restarts":
        """Start number `starts` has ended; the same object where that was known.

        was_well: it had done its work. Then it can start, and whatever ended it did not come with its start: it comes
        back at once, but not for ever (mesh/restarts.py).
        """
        if starts <= self.starts:
            return self
        failures = 0 if was_well else self.failures + 1
        ends = self.ends.another(now_s)
        return Restarts(starts, failures, ends, now_s + max(delay_s(failures), ends.pause_s))
