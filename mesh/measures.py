"""Metrics that templates make themselves, on their way from a host to whoever looks at a position. Pure values.

Each is of one window, like everything that hosts count. Windows that follow one another add up, and so do replicas:

              later window        other replica
    counter   the sum             the sum
    histogram merged              merged
    gauge     the later value     both stand: nobody knows whether a sum, a mean or the largest is meant

A template may change: under one name there may be two kinds then, and the later one counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Self

from mesh.metrics import Histogram
from waypost.api.control.v1.position_pb2 import ModelMetric


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Measure:
    """What one metric says of one window."""

    kind: Kind
    help: str
    value: float | Histogram
    """Of a counter what was added, of a gauge its last value. A histogram is never changed: sums make new ones."""

    def then(self, later: "Measure") -> "Measure":
        """Of both windows."""
        if self.kind is not later.kind or self.kind is Kind.GAUGE:
            return later
        return Measure(later.kind, later.help, _sum(self.value, later.value))

    def to_proto(self, name: str) -> ModelMetric:
        message = ModelMetric(name=name, help=self.help)
        if isinstance(self.value, Histogram):
            message.histogram.CopyFrom(self.value.to_proto())
        else:
            setattr(message, self.kind.value, self.value)
        return message

    @classmethod
    def from_proto(cls, message: ModelMetric) -> Self | None:
        """None for a kind that is not known here."""
        field = message.WhichOneof("value")
        if field is None:
            return None
        value = getattr(message, field)
        return cls(Kind(field), message.help, Histogram.from_proto(value) if field == "histogram" else value)


Measures = Mapping[str, Measure]
"""By name."""


def then(earlier: Measures, later: Measures) -> Measures:
    """Of two windows that follow one another."""
    if not earlier or not later:
        return earlier or later
    both = dict(earlier)
    for name, measure in later.items():
        both[name] = both[name].then(measure) if name in both else measure
    return both


def beside(one: Measures, other: Measures) -> Measures:
    """Of two replicas, without gauges."""
    return then(_summable(one), _summable(other))


def to_protos(measures: Measures) -> list[ModelMetric]:
    """Sorted by name."""
    return [measures[name].to_proto(name) for name in sorted(measures)]


def from_protos(messages: Iterable[ModelMetric]) -> Measures:
    found = {message.name: Measure.from_proto(message) for message in messages}
    return {name: measure for name, measure in found.items() if measure is not None}


def _summable(measures: Measures) -> Measures:
    return {name: measure for name, measure in measures.items() if measure.kind is not Kind.GAUGE}


def _sum(one: float | Histogram, other: float | Histogram) -> float | Histogram:
    if isinstance(one, Histogram) and isinstance(other, Histogram):
        merged = Histogram()
        merged.merge(one)
        merged.merge(other)
        return merged
    assert not isinstance(one, Histogram)
    assert not isinstance(other, Histogram)
    return one + other
