"""How long a run will take, and how long what waits: learned from the runs before. Pure.

**Estimates.** One number for each power of two of elements that go in, started by the calibration at load and moved by
every run since. It is meant to be low rather than high, because work is refused by it: a run cannot be faster than the
model is, so a faster one is believed at once; a slower one has perhaps met somebody else on the CPU, so it counts
little, and one that took very long counts no more than one that took `OUTLIER` times as long as expected.

**Pace.** A call costs a host more than its run: it is read, answered, and perhaps others have the CPU. Of a tiny model
that is the larger part; whoever counted runs only would let in three times what can be done, all of it would wait until
it is nearly late, and most of it would be. So while there is always something waiting, the time from batch to batch is
held against what the runs should have taken.
"""

from collections.abc import Iterable

FASTER, SLOWER = 0.5, 0.1  # shares of the difference that one run moves the estimate by
OUTLIER = 4.0  # a run that was preempted for a scheduler's slice takes more than that, a larger input does not
REMEMBERED = 0.97  # of a pace, from batch to batch: some thirty batches count
MARGIN = (
    2.0  # times what is measured on top of the runs: it varies more than they do, and late answers are worth nothing
)
RUN_S_MIN = 1e-6  # no model is faster; an estimate of 0 could not be multiplied any more


class Estimates:
    """Run times of one model version by size."""

    def __init__(self, seeds: Iterable[tuple[int, float]] = ()) -> None:
        """seeds: (elements, seconds) of runs that were measured already."""
        self._known: dict[int, float] = {}
        """Seconds by the bit length of what goes in."""
        for size, run_s in seeds:
            self.learn(size, run_s)

    def run_s(self, size: int) -> float:
        """Seconds that a run of `size` elements is expected to take; 0 while nothing is known.

        What has not been seen takes as long as the next smaller that has, times how much larger it is; below the
        smallest, as long as that.
        """
        known = self._known.get(size.bit_length())
        return self._inferred_s(size.bit_length()) if known is None else known

    def learn(self, size: int, took_s: float) -> None:
        """A run of `size` elements took `took_s` seconds."""
        octave = size.bit_length()
        took_s = max(took_s, RUN_S_MIN)
        old = self._known.get(octave)
        if old is None:
            self._known[octave] = took_s
        elif took_s < old:
            self._known[octave] = old + (took_s - old) * FASTER
        else:
            self._known[octave] = old + (min(took_s, old * OUTLIER) - old) * SLOWER

    def _inferred_s(self, octave: int) -> float:
        if not self._known:
            return 0.0
        below = max((known for known in self._known if known < octave), default=None)
        if below is None:
            return self._known[min(self._known)]
        return self._known[below] * 2.0 ** (octave - below)


class Pace:
    """Of one queue, in the present busy period: from a batch that leaves others behind to the time when none waits."""

    def __init__(self) -> None:
        self.factor = 1.0
        """How much longer than its runs what waits is expected to take, with some margin; 1 while nothing is known."""
        self._measured = 1.0
        self._spent_s = self._due_s = 0.0
        self._since = self._run_s = 0.0

    def next(self, now: float, run_s: float) -> None:
        """A batch begins that leaves others behind. run_s: what it is expected to take, as part of a full one."""
        due_s = self._run_s
        if due_s:
            spent_s = min(now - self._since, OUTLIER * due_s * self._measured)
            self._spent_s = self._spent_s * REMEMBERED + spent_s
            self._due_s = self._due_s * REMEMBERED + due_s
            self._measured = max(1.0, self._spent_s / self._due_s)
            self.factor = 1.0 + MARGIN * (self._measured - 1.0)
        self._since, self._run_s = now, run_s

    def rest(self) -> None:
        """Nothing waits. What comes next may be a burst that is quickly done: it is not held against the past."""
        if self._run_s:
            self.factor = self._measured = 1.0
            self._spent_s = self._due_s = self._run_s = 0.0
