"""Metrics that templates make themselves."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference_host.model.template_metrics import HELP_CHARS_MAX, METRICS_MAX, VALUE_MAX, Metrics
from mesh.measures import Measure, from_protos, to_protos
from mesh.metrics import Histogram
from waypost.api.control.v1.position_pb2 import ModelMetric
from waypost.errors import Precondition


def value(metrics: Metrics, name: str) -> float:
    taken = metrics.take()[name].value
    assert not isinstance(taken, Histogram)
    return taken


def test_a_counter_tells_what_was_added_since_the_last_time() -> None:
    metrics = Metrics()
    hits = metrics.counter("hits", "in the cache")
    hits.add()
    hits.add(2.5)
    assert value(metrics, "hits") == 3.5
    assert value(metrics, "hits") == 0.0


def test_a_gauge_tells_its_last_value_for_as_long_as_it_stands() -> None:
    metrics = Metrics()
    depth = metrics.gauge("depth")
    assert not metrics.take(), "nothing was said yet"
    depth.set(3)
    depth.set(7)
    assert value(metrics, "depth") == value(metrics, "depth") == 7.0


def test_a_histogram_tells_what_was_observed() -> None:
    metrics = Metrics()
    ages = metrics.histogram("ages")
    for age in (0.0, 0.5, 2.0, 1e300):
        ages.observe(age)
    first, second = metrics.take()["ages"].value, metrics.take()["ages"].value
    assert isinstance(first, Histogram)
    assert isinstance(second, Histogram)
    assert (first.total, second.total) == (4, 0)
    assert first.sum_us == pytest.approx((2.5 + VALUE_MAX) * 1e6)


def test_asking_again_gives_the_same_one() -> None:
    metrics = Metrics()
    assert metrics.counter("hits") is metrics.counter("hits", "another text")
    with pytest.raises(Precondition) as refused:
        metrics.gauge("hits")
    assert "counter already" in refused.value.message


@pytest.mark.parametrize("name", ["", "1st", "cache-hits", "a b", "é", "x" * 65])
def test_names_follow_prometheus(name: str) -> None:
    with pytest.raises(Precondition) as refused:
        Metrics().counter(name)
    assert refused.value.reason == "BAD_METRIC"


def test_there_are_only_so_many_and_their_texts_are_short() -> None:
    metrics = Metrics()
    for number in range(METRICS_MAX):
        metrics.counter(f"m{number}")
    for refused in (lambda: metrics.gauge("more"), lambda: Metrics().gauge("g", "x" * (HELP_CHARS_MAX + 1))):
        with pytest.raises(Precondition):
            refused()


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_values_that_cannot_be_are_refused(wrong: float) -> None:
    metrics = Metrics()
    for method in (metrics.counter("c").add, metrics.histogram("h").observe):
        with pytest.raises(ValueError, match=str(wrong)):
            method(wrong)
    with pytest.raises(ValueError, match="finite"):
        metrics.gauge("g").set(math.nan)


def test_no_thread_loses_anothers_count() -> None:
    metrics = Metrics()
    hits, times = metrics.counter("hits"), metrics.histogram("times")

    def use(_: int) -> None:
        for _ in range(2000):
            hits.add()
            times.observe(1.0)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    taken = metrics.take()
    assert taken["hits"].value == 8000.0
    assert isinstance(taken["times"].value, Histogram)
    assert taken["times"].value.total == 8000


def test_they_travel() -> None:
    metrics = Metrics()
    metrics.counter("hits", "in the cache").add(2)
    metrics.gauge("depth").set(0)
    metrics.histogram("ages").observe(0.5)
    taken = metrics.take()
    messages = to_protos(taken)
    assert [message.name for message in messages] == ["ages", "depth", "hits"]
    arrived = from_protos(messages)
    assert to_protos(arrived) == messages
    assert (arrived["hits"], arrived["depth"]) == (taken["hits"], taken["depth"])


def test_a_kind_that_is_not_known_is_left_out() -> None:
    assert from_protos([ModelMetric(name="later")]) == {}


def test_another_kind_under_a_name_counts_from_then_on() -> None:
    metrics, others = Metrics(), Metrics()
    metrics.counter("depth").add(5)
    others.gauge("depth").set(2)
    one, other = metrics.take()["depth"], others.take()["depth"]
    assert isinstance(one, Measure)
    assert one.then(other) is other
