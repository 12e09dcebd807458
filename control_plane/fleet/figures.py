"""Live metrics: to whoever watches, and added up by the minute.

Agents send what a position did at a pace of ten seconds, and of one second while somebody watches it: `Figures` keeps
the list of who watches what, and says when the interest in an edge server's positions has changed. Nothing waits: a
watcher that is slow sees the newest figures when it looks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

from control_plane.store import MinuteRow
from mesh import measures
from mesh.metrics import Histogram
from waypost.api.control.v1.position_pb2 import PositionMetrics

PACE_S = 1.0  # of positions that somebody watches
WINDOWS_MAX = 64  # of one position and minute, kept apart: adding up many at once costs less than one after the other

_SUMS = ("window_ms", "requests", "errors", "deadline_misses", "wasted_runs", "loops_failed", "loops_late")
MINUTES_AT_ONCE = 500  # added up in some fifty milliseconds

_HISTOGRAMS = ("latency", "closed_loop")
_MEANS = ("cpu", "memory_bytes", "cpu_share", "memory_share", "concurrency", "utilization")


class _Watcher:
    """A slot for the newest figures."""

    def __init__(self) -> None:
        self._newest: PositionMetrics | None = None
        self._fresh = asyncio.Event()

    def give(self, metrics: PositionMetrics) -> None:
        self._newest = metrics
        self._fresh.set()

    async def take(self) -> PositionMetrics:
        await self._fresh.wait()
        self._fresh.clear()
        assert self._newest is not None
        return self._newest


class Figures:
    """interest_changed: called with an edge server whose watched positions are others than before."""

    def __init__(self, interest_changed: Callable[[str], None]) -> None:
        self._interest_changed = interest_changed
        self._watchers: dict[tuple[str, str], set[_Watcher]] = {}
        self._minutes: dict[tuple[str, int], list[PositionMetrics]] = {}

    def watched(self, edge_server: str) -> list[str]:
        """Positions of an edge server that somebody watches now."""
        return sorted(position for server, position in self._watchers if server == edge_server)

    async def watch(self, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        """Figures as they come, newest only, for as long as the iterator is held."""
        watcher = _Watcher()
        watchers = self._watchers.setdefault((edge_server, position), set())
        watchers.add(watcher)
        self._interest_changed(edge_server)
        try:
            while True:
                yield await watcher.take()
        finally:
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop((edge_server, position), None)
                self._interest_changed(edge_server)

    def take(self, edge_server: str, metrics: PositionMetrics, *, now: float) -> None:
        """One position's window, as it arrived."""
        for watcher in self._watchers.get((edge_server, metrics.name), ()):
            watcher.give(metrics)
        windows = self._minutes.setdefault((metrics.name, int(now // 60)), [])
        windows.append(metrics)
        if len(windows) >= WINDOWS_MAX:
            windows[:] = [merged(windows)]

    def finished_minutes(self, *, now: float) -> list[MinuteRow]:
        """Minutes that are over, once; of a large fleet some at a time, so that nobody waits for all of them."""
        over = list(islice((key for key in self._minutes if key[1] < int(now // 60)), MINUTES_AT_ONCE))
        return [MinuteRow(*key, merged(self._minutes.pop(key)).SerializeToString()) for key in sorted(over)]


def merged(windows: Iterable[PositionMetrics]) -> PositionMetrics:
    """One window for several of one position: counts added, loads averaged over time, the longest queue.

    What single replicas did is left out: they come and go within a minute.
    """
    total = PositionMetrics()
    histograms = {field: Histogram() for field in _HISTOGRAMS}
    measured: measures.Measures = {}
    for window in windows:
        total_ms, window_ms = total.window_ms, max(window.window_ms, 1)
        for field in _MEANS:
            mean = (getattr(total, field) * total_ms + getattr(window, field) * window_ms) / (total_ms + window_ms)
            setattr(total, field, type(getattr(total, field))(mean))
        calls = max(1, total.requests + window.requests)
        waited_ms = total.queue_time_ms * total.requests + window.queue_time_ms * window.requests
        total.queue_time_ms = waited_ms / calls
        for field in _SUMS:
            setattr(total, field, getattr(total, field) + getattr(window, field))
        for field, histogram in histograms.items():
            histogram.merge(Histogram.from_proto(getattr(window, field)))
        measured = measures.then(measured, measures.from_protos(window.model_metrics))
        total.queue_depth = max(total.queue_depth, window.queue_depth)
        total.name = window.name
        total.time.CopyFrom(window.time)
    for field, histogram in histograms.items():
        getattr(total, field).CopyFrom(histogram.to_proto())
    total.model_metrics.extend(measures.to_protos(measured))
    return total


def added(before: bytes, after: bytes) -> bytes:
    """`merged`, of serialized windows: what two control planes heard of one position in one minute."""
    return merged([PositionMetrics.FromString(before), PositionMetrics.FromString(after)]).SerializeToString()
