"""The law of mergeable histograms."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.metrics import Histogram

durations = st.lists(st.floats(1e-6, 3000), min_size=1, max_size=50)


def histogram_of(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@given(durations, durations)
def test_merging_is_as_if_all_had_been_added_to_one(some: list[float], others: list[float]) -> None:
    merged = histogram_of(some)
    merged.merge(histogram_of(others))
    assert merged.counts == histogram_of(some + others).counts


@given(st.lists(st.floats(0, 1e5)))
def test_adding_many_is_adding_each(values: list[float]) -> None:
    together = Histogram()
    together.add_all(values)
    assert (together.counts, together.sum_us) == (histogram_of(values).counts, histogram_of(values).sum_us)


@given(durations, st.floats(0.01, 1))
def test_a_percentile_is_within_nine_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[max(1, -(-int(share * len(values) * 1e9) // 10**9)) - 1]
    assert exact / 1.1 <= histogram_of(values).percentile(share) <= exact * 1.1


@given(durations)
def test_the_wire_keeps_everything(values: list[float]) -> None:
    histogram = histogram_of(values)
    again = Histogram.from_proto(histogram.to_proto())
    assert (again.counts, again.sum_us) == (histogram.counts, histogram.sum_us)


def test_nothing_counted_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) == 0.0
