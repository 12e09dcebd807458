"""What `watch` shows of a position."""

import pytest

from console import figures
from mesh.metrics import Histogram
from waypost.api.control.v1.position_pb2 import Position, PositionMetrics, PositionSpec, Replicas


def position() -> Position:
    position = Position(
        name="projects/uav/applications/path/positions/tower-7",
        generation=4,
        spec=PositionSpec(
            model_version="projects/uav/applications/path/models/lstm/versions/3",
            edge_server="edgeServers/edge-1",
            replicas=Replicas(min=1, max=4),
        ),
    )
    position.status.state = 3
    position.status.message = "2 of 2 replicas are ready"
    for id_ in ("r-aaaaaa", "r-bbbbbb"):
        position.status.replicas.add(id=id_, state=3)
    return position


def metrics() -> PositionMetrics:
    latency = Histogram()
    latency.add(0.001, 95)
    latency.add(0.010, 5)
    shown = PositionMetrics(
        window_ms=2000, requests=100, errors=2, queue_depth=3, cpu=0.5, cpu_share=0.25, memory_bytes=120 << 20,
        memory_share=0.01, latency=latency.to_proto(), loops_failed=3, loops_late=1,
        concurrency=2.5, queue_time_ms=4.0, utilization=0.75,
    )  # fmt: skip
    shown.replicas.add(
        id="r-aaaaaa", requests=100, cpu=0.4, memory_bytes=60 << 20, latency=latency.to_proto(), utilization=0.75
    )
    return shown


PAGE = """\
uav/path/tower-7                                                      IN_SERVICE
2 of 2 replicas are ready
uav/path/lstm/3 at edge-1, generation 4, 2/1-4 replicas ready

requests        50.0/s  ▁▅█
             1.0/s errors, 0.0/s late, 3 waiting
load         2.5 at a time, 4.00 ms in the queue, 75.0 % busy
latency      p50   981 µs   p95   981 µs   p99  10.2 ms
closed loop  nothing measured
             1.5/s failed, 0.5/s late
cpu          0.50 (25.0 % of the server)
memory       120 MiB (1.0 % of the server)

REPLICA   STATE  REQ/S  ERR/S  P50     P99      BUSY    CPU   MEMORY
r-aaaaaa  READY  50.0   0.0    981 µs  10.2 ms  75.0 %  0.40  60.0 MiB
r-bbbbbb  READY  -      -      -       -        -       -     -"""


BESIDES = {"name", "time", "replicas"}
"""What figures stand beside: `record` says whose and when, `page` has a row for each replica."""


@pytest.mark.parametrize("name", sorted(set(PositionMetrics.DESCRIPTOR.fields_by_name) - BESIDES))
def test_whatever_is_told_of_a_position_is_a_figure(name: str) -> None:
    durations = Histogram()
    durations.add(0.001, 95)
    full = PositionMetrics(latency=durations.to_proto(), closed_loop=durations.to_proto())
    full.model_metrics.add(name="hits", counter=3)
    for field in full.DESCRIPTOR.fields:
        if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_DOUBLE):
            setattr(full, field.name, 3)
    without = PositionMetrics()
    without.CopyFrom(full)
    without.ClearField(name)
    assert without != full
    assert figures.Figures.of(without) != figures.Figures.of(full)


def test_a_page_fits_80_columns_and_shows_rates_and_percentiles() -> None:
    shown = figures.page(position(), metrics(), [0.0, 25.0, 50.0], 80)
    assert shown == PAGE
    assert max(map(len, shown.splitlines())) <= 80


def test_without_figures_the_state_is_shown_all_the_same() -> None:
    shown = figures.page(position(), None, [], 80, "no agent is connected")
    assert "IN_SERVICE" in shown
    assert "(no agent is connected)\nno figures from the edge yet" in shown


def test_a_line_for_programs_has_null_where_nothing_was_measured() -> None:
    line = figures.record(position(), None, 1_700_000_000.25)
    assert line["time"] == "2023-11-14T22:13:20.250Z"
    assert (line["state"], line["replicas_ready"], line["figures"]) == ("IN_SERVICE", 2, None)
    shown = figures.record(position(), metrics(), 0.0)["figures"]
    assert (shown["latency"]["count"], shown["loops_failed_per_s"], shown["loops_late_per_s"]) == (100, 1.5, 0.5)


def test_bars_show_the_newest_values_scaled_to_the_largest() -> None:
    assert figures.sparkline([9, 0, 1, 2, 4, 8], 5) == "▁▂▃▅█"
    assert figures.sparkline([0, 0], 5) == "▁▁"


def test_what_templates_count_and_measure_themselves_is_shown() -> None:
    shown, seconds = metrics(), Histogram()
    seconds.add(0.5, 3)
    shown.model_metrics.add(name="cache_hits", help="answers from the cache", counter=9)
    shown.model_metrics.add(name="age_seconds", histogram=seconds.to_proto())
    shown.model_metrics.add(name="never_seconds", histogram=Histogram().to_proto())
    for id_, depth in (("r-aaaaaa", 3.0), ("r-bbbbbb", 4.5)):
        replica = next((each for each in shown.replicas if each.id == id_), None) or shown.replicas.add(id=id_)
        replica.model_metrics.add(name="depth", gauge=depth)
    page = figures.page(position(), shown, [], 80)
    assert (
        """
MODEL METRIC   VALUE
age_seconds    p50 0.502   p95 0.502   p99 0.502
cache_hits     4.5/s
depth          3  4.5
never_seconds  nothing measured

REPLICA"""
        in page
    )
    record = figures.record(position(), shown, 0.0)["figures"]["model_metrics"]
    assert record["cache_hits"] == {"kind": "counter", "help": "answers from the cache", "per_s": 4.5}
    assert record["depth"]["values"] == {"r-aaaaaa": 3.0, "r-bbbbbb": 4.5}
    assert record["age_seconds"]["count"] == 3
