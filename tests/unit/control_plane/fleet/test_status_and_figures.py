"""Metrics added up, and edge servers' statuses step by step."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet import figures as figures_module
from control_plane.fleet import status
from control_plane.fleet.figures import Figures, merged
from control_plane.fleet.rows import Observation, Rows
from control_plane.store import MinuteRow, ObservedRow, database, open_stores
from mesh.metrics import Histogram
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE, Condition
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    Capacity,
    EdgeServerStatus,
)
from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport
from waypost.errors import Unavailable


@st.composite
def windows(draw: st.DrawFn) -> PositionMetrics:
    latency = Histogram()
    for duration_s in draw(st.lists(st.floats(1e-6, 10), max_size=5)):
        latency.add(duration_s)
    return PositionMetrics(
        name="p",
        window_ms=draw(st.integers(1, 10_000)),
        requests=draw(st.integers(0, 1000)),
        errors=draw(st.integers(0, 1000)),
        deadline_misses=draw(st.integers(0, 1000)),
        wasted_runs=draw(st.integers(0, 1000)),
        loops_failed=draw(st.integers(0, 1000)),
        loops_late=draw(st.integers(0, 1000)),
        cpu=draw(st.floats(0, 64)),
        memory_bytes=draw(st.integers(0, 1 << 40)),
        queue_depth=draw(st.integers(0, 100)),
        queue_time_ms=draw(st.floats(0, 1000)),
        latency=latency.to_proto(),
    )


@given(st.lists(windows(), min_size=1, max_size=6))
def test_a_minute_is_the_sum_of_its_windows(parts: list[PositionMetrics]) -> None:
    whole = merged(parts)
    for field in ("window_ms", "requests", "errors", "deadline_misses", "wasted_runs", "loops_failed", "loops_late"):
        assert getattr(whole, field) == sum(getattr(part, field) for part in parts)
    assert sum(whole.latency.counts) == sum(sum(part.latency.counts) for part in parts)
    assert whole.queue_depth == max(part.queue_depth for part in parts)
    low, high = min(part.cpu for part in parts), max(part.cpu for part in parts)
    assert low - 1e-9 <= whole.cpu <= high + 1e-9


@given(windows(), windows(), windows())
def test_adding_up_step_by_step_is_adding_up_at_once(
    one: PositionMetrics, two: PositionMetrics, three: PositionMetrics
) -> None:
    stepwise, at_once = merged([merged([one, two]), three]), merged([one, two, three])
    assert stepwise.latency == at_once.latency
    assert (stepwise.requests, stepwise.window_ms) == (at_once.requests, at_once.window_ms)
    assert abs(stepwise.cpu - at_once.cpu) < 1e-6
    assert abs(stepwise.queue_time_ms - at_once.queue_time_ms) < 1e-6


def test_the_time_in_the_queue_is_that_of_a_call_not_of_a_window() -> None:
    parts = [PositionMetrics(window_ms=1000, requests=n, queue_time_ms=ms) for n, ms in ((1, 40.0), (3, 8.0), (0, 0.0))]
    assert merged(parts).queue_time_ms == 16.0


def test_a_sum_leaves_out_nothing_but_single_replicas() -> None:
    measured = Histogram()
    measured.add(0.5)
    counts = {"requests": 9, "errors": 8, "deadline_misses": 7, "queue_depth": 6, "loops_failed": 5, "loops_late": 4}
    counts |= {"wasted_runs": 3}
    loads = {"cpu": 0.5, "memory_bytes": 3, "cpu_share": 0.25, "memory_share": 0.125}
    loads |= {"concurrency": 4.0, "queue_time_ms": 1.5, "utilization": 0.75}
    window = PositionMetrics(name="p", window_ms=1024, **counts, **loads)
    window.time.FromSeconds(60)
    for histogram in (window.latency, window.closed_loop):
        histogram.CopyFrom(measured.to_proto())
    window.model_metrics.add(name="hits", counter=3)
    window.model_metrics.add(name="seconds", histogram=measured.to_proto())
    assert {field.name for field, _ in window.ListFields()} == set(window.DESCRIPTOR.fields_by_name) - {"replicas"}
    assert merged([window]) == window


def test_what_templates_counted_adds_up_by_name() -> None:
    windows = [PositionMetrics(window_ms=1000) for _ in range(3)]
    for name, window in zip("aab", windows, strict=True):
        window.model_metrics.add(name=name, help="hits", counter=2)
    total = merged(windows)
    assert [(metric.name, metric.help, metric.counter) for metric in total.model_metrics] == [
        ("a", "hits", 4),
        ("b", "hits", 2),
    ]


def test_a_minute_is_told_once_when_it_is_over() -> None:
    figures = Figures(lambda edge_server: None)
    for second in (0.0, 30.0, 59.9, 60.0):
        figures.take("edgeServers/e", PositionMetrics(name="p", requests=1), now=6000 + second)
    assert figures.finished_minutes(now=6059.9) == []
    (row,) = figures.finished_minutes(now=6060.0)
    assert (row.name, row.minute, PositionMetrics.FromString(row.body).requests) == ("p", 100, 3)
    assert figures.finished_minutes(now=6060.0) == []
    assert [row.minute for row in figures.finished_minutes(now=6120.0)] == [101]


def test_of_many_positions_each_minute_is_told_once_though_not_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "MINUTES_AT_ONCE", 2)
    monkeypatch.setattr(figures_module, "WINDOWS_MAX", 3)
    figures = Figures(lambda edge_server: None)
    for name in "abcde":
        for _ in range(7):
            figures.take("edgeServers/e", PositionMetrics(name=name, requests=1), now=6000.0)
    told: list[MinuteRow] = []
    while minutes := figures.finished_minutes(now=6060.0):
        assert len(minutes) <= 2
        told += minutes
    assert sorted(minute.name for minute in told) == list("abcde")
    assert {PositionMetrics.FromString(minute.body).requests for minute in told} == {7}


def row(body: str) -> ObservedRow:
    return ObservedRow("kind", "name", body.encode())


@scenario
async def test_a_change_is_written_at_once_and_figures_wait_for_the_next_beat() -> None:
    async with open_stores("sqlite://") as stores:
        rows = Rows(stores.observed)

        async def seen(body: str, essence: str) -> bytes:
            await rows.put([Observation(row(body), essence.encode())])
            return (await stores.observed.read("kind", ["name"]))["name"]

        assert await seen("a 1", "a") == b"a 1"
        assert await seen("a 2", "a") == b"a 1"
        assert await seen("a 3", "a") == b"a 1"
        await rows.flush()
        assert await stores.observed.read("kind", ["name"]) == {"name": b"a 3"}
        assert await seen("a 4", "a") == b"a 3"
        assert await seen("b 1", "b") == b"b 1"
        await rows.flush()
        assert await stores.observed.read("kind", ["name"]) == {"name": b"b 1"}


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Somebody else writes to it."""
    with closing(sqlite3.connect(store, isolation_level=None)) as somebody_else:
        somebody_else.execute("BEGIN IMMEDIATE")
        yield


def test_what_the_store_could_not_take_is_written_with_the_next_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)

    @scenario
    async def run() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db") as stores:
            rows = Rows(stores.observed)
            with locked(tmp_path / "store.db"), pytest.raises(Unavailable):
                await rows.put([Observation(row("a 1"), b"a")])
            await rows.flush()
            assert await stores.observed.read("kind", ["name"]) == {"name": b"a 1"}

    run()


def test_what_the_store_could_not_take_never_replaces_what_was_said_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)

    @scenario
    async def run() -> None:
        async with open_stores(f"sqlite:///{tmp_path}/store.db") as stores:
            rows = Rows(stores.observed)
            with locked(tmp_path / "store.db"):
                puts = [rows.put([Observation(row(body), body.encode())]) for body in ("a", "b", "c")]
                assert all(await asyncio.gather(*puts, return_exceptions=True))  # all of them failed
            await rows.flush()
            assert await stores.observed.read("kind", ["name"]) == {"name": b"c"}

    run()


@scenario
async def test_a_deleted_row_does_not_come_back_with_the_next_beat() -> None:
    async with open_stores("sqlite://") as stores:
        rows = Rows(stores.observed)
        for body in ("a 1", "a 2"):
            await rows.put([Observation(row(body), b"a")])
        await rows.delete("kind", ["name"])
        await rows.flush()
        assert await stores.observed.read("kind", ["name"]) == {}
        await rows.put([Observation(row("a 3"), b"a")])
        assert await stores.observed.read("kind", ["name"]) == {"name": b"a 3"}


def test_an_edge_servers_status_from_its_first_word_to_its_return() -> None:
    first = status.connected(EdgeServerStatus(), now=100)
    told = status.reported(first, EdgeServerReport(agent_version="1", capacity=Capacity(cpu_millis=2000)), now=101)
    broken = status.link_lost(told, now=110)
    over = status.lease_over(broken, "cp:7601", now=140)
    back = status.connected(over, now=150)
    assert [each.state for each in (told, broken, over, back)] == [
        *(EDGE_SERVER_STATE_CONNECTED, EDGE_SERVER_STATE_CONNECTED),
        *(EDGE_SERVER_STATE_DISCONNECTED, EDGE_SERVER_STATE_CONNECTED),
    ]
    assert back.capacity.cpu_millis == 2000
    assert "since 1970-01-01 00:01:41 UTC" in over.message
    assert over.conditions[0].since.seconds == 110  # lost since then, whatever it is called
    assert back.conditions[0].since.seconds == 150
    assert all(each.message for each in (first, told, broken, over, back))


def test_the_agent_has_no_say_in_conditions_about_its_link() -> None:
    ours = status.link_lost(status.connected(EdgeServerStatus(), now=1), now=2)
    theirs = [
        Condition(type="AgentConnected", status=CONDITION_STATUS_TRUE),
        Condition(type="GatewayReady", status=CONDITION_STATUS_TRUE),
    ]
    after = status.reported(ours, EdgeServerReport(conditions=theirs), now=3)
    assert [(judged.type, judged.reason) for judged in after.conditions] == [
        ("AgentConnected", "LINK_LOST"),
        ("GatewayReady", ""),
    ]


def test_after_a_restart_nobody_is_connected_who_has_not_called() -> None:
    before = status.connected(EdgeServerStatus(), now=100)
    after = status.restarted(before, now=200)
    assert after.state == EDGE_SERVER_STATE_DISCONNECTED
    assert "restarted" in after.message
    (lost,) = after.conditions
    assert (lost.type, lost.reason, lost.since.seconds) == ("AgentConnected", "LINK_LOST", 200)
    assert status.lease_over(after, "cp:7601", now=230).conditions[0].since.seconds == 200
    back = status.connected(after, now=201)
    assert (back.state, back.connected_since_time.seconds) == (EDGE_SERVER_STATE_CONNECTED, 201)


def test_being_heard_is_no_change_worth_telling() -> None:
    before = status.connected(EdgeServerStatus(), now=1)
    assert status.essence(status.heard(before, now=2)) == status.essence(before)
    assert status.essence(status.link_lost(before, now=2)) != status.essence(before)
