"""The counts of a host's processes make one count."""

from hypothesis import given
from hypothesis import strategies as st

from inference_host.processes.worker import add
from mesh.metrics import Histogram
from waypost.api.control.v1.position_pb2 import ModelMetric
from waypost.api.link.v1.host_link_pb2 import HostMetrics

FIELDS = set(HostMetrics.DESCRIPTOR.fields_by_name)
STAY = {"replica", "window_ms"}
"""Are the same for all processes."""
MERGED = {"latency", "model_metrics"}
NUMBERS = FIELDS - STAY - MERGED
"""Add up."""


@st.composite
def counts(draw: st.DrawFn) -> HostMetrics:
    """Every field is there."""
    latency = Histogram()
    latency.add_all(draw(st.lists(st.floats(1e-6, 100), min_size=1, max_size=5)))
    numbers = {name: draw(st.integers(1, 1 << 40)) for name in sorted(NUMBERS | {"window_ms"})}
    hits = ModelMetric(name="hits", counter=draw(st.integers(1, 100)))
    return HostMetrics(replica="r", latency=latency.to_proto(), model_metrics=[hits], **numbers)


@given(counts(), counts())
def test_every_field_adds_up_but_for_those_that_are_the_same_everywhere(mine: HostMetrics, theirs: HostMetrics) -> None:
    both = HostMetrics()
    both.CopyFrom(mine)
    add(both, theirs)
    for name in STAY:
        assert getattr(both, name) == getattr(mine, name)
    for name in NUMBERS:
        assert getattr(both, name) == getattr(mine, name) + getattr(theirs, name), name
    durations = Histogram.from_proto(mine.latency)
    durations.merge(Histogram.from_proto(theirs.latency))
    assert both.latency == durations.to_proto()
    (hits,) = both.model_metrics
    assert hits.counter == mine.model_metrics[0].counter + theirs.model_metrics[0].counter
