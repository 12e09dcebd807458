"""What a template counts and measures itself, beside what the host counts of every model (serving/meter.py).

    def load(self, context):
        self.hits = context.metrics.counter("cache_hits", "answers that were in the cache")
        self.depth = context.metrics.gauge("tree_depth")
        self.ages = context.metrics.histogram("track_age_seconds", "age of the tracks that went in")

    self.hits.add()     self.depth.set(7)     self.ages.observe(0.25)

They go the way of the host's own figures: up the link with every sample, to `waypost watch` and the API. Names follow
Prometheus' rules (prometheus.io, "Data model") and there are few of them, because each travels every second.

Any thread may use them: one lock for all metrics of a model, held for less than a microsecond.
"""

import math
import re
import threading
from collections.abc import Mapping
from typing import TypeVar

from mesh.measures import Kind, Measure
from mesh.metrics import Histogram as Buckets
from waypost.errors import Precondition

METRICS_MAX = 32  # of one template: each is some fifty bytes in every sample of every replica
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,63}")
HELP_CHARS_MAX = 200  # a sentence; it travels with the metric
VALUE_MAX = 2**32 / 1e6  # where the last bucket of a histogram ends; sums of larger values would not fit their field


class Counter:
    """Goes up."""

    kind = Kind.COUNTER

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._added = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Raises: ValueError where `amount` is below 0 or no finite number."""
        if not 0 <= amount < math.inf:
            raise ValueError(f"a counter goes up: {amount} cannot be added")
        with self._lock:
            self._added += amount

    def _take(self) -> float | None:
        added, self._added = self._added, 0.0
        return added


class Gauge:
    """Goes up and down: the last value counts. Not told before it was set."""

    kind = Kind.GAUGE

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._value: float | None = None

    def set(self, value: float) -> None:
        """Raises: ValueError where `value` is no finite number."""
        if not math.isfinite(value):
            raise ValueError(f"a gauge shows finite numbers, not {value}")
        with self._lock:
            self._value = float(value)

    def _take(self) -> float | None:
        return self._value


class Histogram:
    """How values are distributed: buckets that are 9 % wide, from a millionth to four thousand. What lies outside is
    counted in the first or the last one: choose the unit accordingly, seconds and not microseconds."""

    kind = Kind.HISTOGRAM

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._window = Buckets()

    def observe(self, value: float) -> None:
        """Raises: ValueError where `value` is below 0 or no finite number."""
        if not 0 <= value < math.inf:
            raise ValueError(f"a histogram holds finite values from 0 on, not {value}")
        with self._lock:
            self._window.add(min(value, VALUE_MAX))

    def _take(self) -> Buckets | None:
        taken, self._window = self._window, Buckets()
        return taken


Metric = Counter | Gauge | Histogram
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """Of one model in memory. Asked for a name that is there already it gives the same metric again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[str, tuple[Metric, str]] = {}

    def counter(self, name: str, about: str = "") -> Counter:
        """Raises: Precondition(BAD_METRIC), as the others do: a name that is none, is another's, or one too many."""
        return self._metric(Counter, name, about)

    def gauge(self, name: str, about: str = "") -> Gauge:
        return self._metric(Gauge, name, about)

    def histogram(self, name: str, about: str = "") -> Histogram:
        return self._metric(Histogram, name, about)

    def take(self) -> Mapping[str, Measure]:
        """What was counted and observed since the last time, and what gauges say now, by name."""
        with self._lock:
            taken = [(name, metric.kind, about, metric._take()) for name, (metric, about) in self._metrics.items()]
        return {name: Measure(kind, about, value) for name, kind, about, value in taken if value is not None}

    def _metric(self, kind: type[M], name: str, about: str) -> M:
        with self._lock:
            known = self._metrics.get(name)
            if known is None:
                self._check(name, about)
                known = self._metrics[name] = (kind(self._lock), about)
        metric = known[0]
        if not isinstance(metric, kind):
            raise _bad(f"{name!r} is a {metric.kind.value} already", "give the other one another name")
        return metric

    def _check(self, name: str, about: str) -> None:
        if not NAME.fullmatch(name):
            raise _bad(f"{name!r} cannot name a metric", "1 to 64 letters, digits, '_' and ':', no digit first")
        if len(about) > HELP_CHARS_MAX:
            raise _bad(f"the text about {name!r} has {len(about)} characters", f"at most {HELP_CHARS_MAX} are kept")
        if len(self._metrics) >= METRICS_MAX:
            raise _bad(f"{name!r} is one metric too many", f"a template has at most {METRICS_MAX}")


def _bad(message: str, hint: str) -> Precondition:
    return Precondition("BAD_METRIC", message, hint)
