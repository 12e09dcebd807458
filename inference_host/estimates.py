"""How long a run will take, learned from the runs before. Pure.

One number for each power of two of elements that go in, started by the probe at load and moved by every run since. It
is meant to be low rather than high, because work is refused by it: a run cannot be faster than the model is, so a
faster one is believed at once; a slower one has perhaps met somebody else on the CPU, so it counts little, and one that
took very long counts no more than one that took `OUTLIER` times as long as expected.
"""

from collections.abc import Iterable

FASTER, SLOWER = 0.5, 0.1  # shares of the difference that one run moves the estimate by
OUTLIER = 4.0  # a run that was preempted for a scheduler's slice takes more than that, a larger input does not
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
