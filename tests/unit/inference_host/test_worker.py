"""The counts of a host's processes make one count."""

from hypothesis import given
from hypothesis import strategies as st

from inference_host.worker import add
from mesh.metrics import Histogram
from waypost.api.link.v1.host_link_pb2 import HostMetrics

numbers = st.integers(0, 1 << 40)


@st.composite
def counts(draw: st.DrawFn) -> HostMetrics:
    latency = Histogram()
    latency.add_all(draw(st.lists(st.floats(1e-6, 100), max_size=5)))
    return HostMetrics(
        replica="r",
        window_ms=draw(numbers),
        requests=draw(numbers),
        errors=draw(numbers),
        deadline_misses=draw(numbers),
        queue_depth=draw(numbers),
        inside_us=draw(numbers),
        busy_us=draw(numbers),
        processes=draw(numbers),
        latency=latency.to_proto(),
    )


@given(counts(), counts())
def test_numbers_and_durations_add_up_and_the_window_stays(mine: HostMetrics, theirs: HostMetrics) -> None:
    both = HostMetrics()
    both.CopyFrom(mine)
    add(both, theirs)
    assert (both.replica, both.window_ms) == ("r", mine.window_ms)
    for name in ("requests", "errors", "deadline_misses", "queue_depth", "inside_us", "busy_us", "processes"):
        assert getattr(both, name) == getattr(mine, name) + getattr(theirs, name)
    durations = Histogram.from_proto(mine.latency)
    durations.merge(Histogram.from_proto(theirs.latency))
    assert both.latency == durations.to_proto()
