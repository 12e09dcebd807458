"""Durations as a histogram that can be merged without loss. Pure.

Bucket i counts durations d with floor(8 * log2(d / 1 us)) == i, i clamped to 0..255: each bucket is 9 % wide and the
last begins at an hour. The same law as LatencyHistogram in protos/waypost/api/control/v1/position.proto.
"""

import math
from collections.abc import Iterable
from typing import Self

from waypost.api.control.v1.position_pb2 import LatencyHistogram

BUCKETS = 256
PER_OCTAVE = 8


class Histogram:
    """Counts per bucket and the sum. Not thread-safe."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.sum_us = 0

    def add(self, duration_s: float, count: int = 1) -> None:
        """Counts a duration in seconds; below a microsecond it counts as one."""
        bucket = bucket_of(duration_s)
        self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.sum_us += round(duration_s * 1e6) * count

    def add_all(self, durations_s: Iterable[float]) -> None:
        """Counts several durations. Nothing is called for each: an inference host does this for every answer."""
        counts, log2, last, sum_us = self.counts, math.log2, BUCKETS - 1, 0
        for duration_s in durations_s:
            us = duration_s * 1e6
            bucket = int(PER_OCTAVE * log2(us)) if us > 1 else 0
            if bucket > last:
                bucket = last
            counts[bucket] = counts.get(bucket, 0) + 1
            sum_us += round(us)
        self.sum_us += sum_us

    def merge(self, other: "Histogram") -> None:
        """Afterwards as if all of the other's durations had been added here."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.sum_us += other.sum_us

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def percentile(self, share: float) -> float:
        """The duration in seconds below which `share` (0..1) of all lie; 0.0 where there are none.

        Within 9 %: the middle (geometric) of the bucket that holds the rank.
        """
        rank = max(1, math.ceil(share * self.total))
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return float(2 ** ((bucket + 0.5) / PER_OCTAVE) / 1e6)
        return 0.0

    def to_proto(self) -> LatencyHistogram:
        buckets = sorted(self.counts)
        return LatencyHistogram(buckets=buckets, counts=[self.counts[b] for b in buckets], sum_us=self.sum_us)

    @classmethod
    def from_proto(cls, message: LatencyHistogram) -> Self:
        """Tolerates what another version may send: indices beyond the last bucket count as the last."""
        histogram = cls()
        for bucket, count in zip(message.buckets, message.counts, strict=False):
            index = min(bucket, BUCKETS - 1)
            histogram.counts[index] = histogram.counts.get(index, 0) + count
        histogram.sum_us = message.sum_us
        return histogram


def bucket_of(duration_s: float) -> int:
    """Index of the bucket for a duration in seconds."""
    if duration_s <= 1e-6:
        return 0
    return min(BUCKETS - 1, int(PER_OCTAVE * math.log2(duration_s * 1e6)))
