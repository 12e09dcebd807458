"""What is made of the times that a load has measured."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.workbench.figures import (
    Batches,
    Measured,
    latency_ms,
    limit_of_driver,
    percentiles,
    spans,
    summary,
)

QUIET = Measured(
    seconds=2.0,
    due=4,
    latencies_s=[0.001, 0.002, 0.003, 0.010],
    in_time=3,
    errors={"UNAVAILABLE QUEUE_FULL": 1},
    late_s=[],
    driver_cpu_s=0.1,
    host_cpu_s=1.8,
)


@given(st.lists(st.floats(0, 10), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_time_that_was_measured_and_so_many_are_not_above_it(times: list[float], q: float) -> None:
    (found,) = percentiles(times, [q])
    assert found in times
    assert sum(time <= found for time in times) >= q * len(times) - 1e-9


@given(st.lists(st.floats(0, 10), min_size=1))
def test_percentiles_rise_to_the_largest(times: list[float]) -> None:
    found = percentiles(times, [0.5, 0.9, 0.99, 1.0])
    assert found == sorted(found)
    assert found[-1] == max(times)


def test_a_summary_counts_per_answer_and_per_second() -> None:
    found = summary(QUIET, Batches({1: 2, 2: 1}, rows=4))
    assert found["calls_per_s"] == 2.0
    assert found["host_cpu_us_per_call"] == pytest.approx(450_000)
    assert found["latency_ms"] == {"p50": 2.0, "p90": 10.0, "p99": 10.0, "max": 10.0}
    assert found["batch_rows_mean"] == pytest.approx(4 / 3)
    assert found["errors"] == {"UNAVAILABLE QUEUE_FULL": 1}


def test_a_load_without_an_answer_has_a_summary_too() -> None:
    nothing = dataclasses.replace(QUIET, latencies_s=[], in_time=0, host_cpu_s=None)
    assert latency_ms(nothing) == {}
    assert summary(nothing, None)["calls_per_s"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"driver_cpu_s": 1.9}, "the driver was busy for 95%"),
        ({"driver_cpu_s": 1.0, "host_cpu_s": 1.0}, "driver and host took turns"),
        ({"driver_cpu_s": 1.0, "host_cpu_s": None}, ""),
        ({"late_s": [0.0, 0.005]}, "1 % of the calls were sent 5.0 ms late"),
        ({"late_s": [0.0, 0.00001]}, ""),
    ],
)
def test_it_is_said_where_the_driver_is_the_limit(change: dict[str, object], words: str) -> None:
    found = limit_of_driver(dataclasses.replace(QUIET, **change))  # type: ignore[arg-type]
    assert found.startswith(words)
    assert bool(found) == bool(words)


@given(st.dictionaries(st.integers(1, 300), st.integers(1, 9)))
def test_no_run_is_lost_when_runs_are_gathered(runs: dict[int, int]) -> None:
    assert sum(spans({str(rows): count for rows, count in runs.items()}).values()) == sum(runs.values())


def test_runs_are_gathered_by_powers_of_two() -> None:
    assert spans({"1": 5, "2": 1, "3": 2, "8": 4}) == {"1": 5, "2-3": 3, "8-15": 4}
