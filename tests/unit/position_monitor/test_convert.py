"""Messages to values and back: nothing is lost, nothing that cannot be acted upon comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.metrics import Histogram
from position_monitor.autoscale import DOWN, UP, Autoscaling, Bounds, Policy, Rules, Select
from position_monitor.convert import (
    autoscaling_from,
    decision_from,
    decision_to,
    endpoints_to,
    metrics_to,
    orders_from,
    read_orders,
    serving,
    window_from,
)
from position_monitor.demand import DEFAULT, USUAL, Targets, Tolerance
from position_monitor.rollout import Decision, Orders, Replica, Share, Verdict, Version
from position_monitor.usage import MONITOR, Usage
from position_monitor.window import Loop, Loops, Window
from waypost.api.control.v1.position_pb2 import (
    REPLICA_STATE_FAILED,
    REPLICA_STATE_READY,
    SCALING_POLICY_TYPE_PERCENT,
    SCALING_POLICY_TYPE_REPLICAS,
    SCALING_SELECT_DISABLED,
    SCALING_SELECT_MIN,
    ModelMetric,
    PositionMetrics,
    PositionSpec,
    Replicas,
    ScalingPolicy,
    ScalingRules,
    ScalingTargets,
)
from waypost.api.link.v1 import monitor_link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics
from waypost.errors import Invalid

POSITION = "projects/uav/applications/path/positions/tower-7"
TEXT = st.text(max_size=20)
VERSIONS = st.builds(Version, TEXT, TEXT)
DECISIONS = st.builds(
    Decision,
    number=st.integers(0, 2**40),
    generation=st.integers(0, 2**40),
    shares=st.lists(
        st.builds(Share, VERSIONS, st.integers(0, 64), st.integers(0, 100), st.lists(TEXT, max_size=3).map(tuple)),
        max_size=2,
    ).map(tuple),
    verdicts=st.lists(st.builds(Verdict, VERSIONS, TEXT, TEXT, st.integers(0, 4 * 10**9).map(float)), max_size=3).map(
        tuple
    ),
    reason=TEXT,
)


def orders(**more: object) -> pb.PositionOrders:
    made = pb.PositionOrders(
        position=POSITION,
        uid="u-1",
        generation=3,
        model_version="m/1",
        digest="sha256:1",
        **more,  # type: ignore[arg-type]
    )
    made.replicas.add(id="r-aaaaaa", model_version="m/1", digest="sha256:1", state=REPLICA_STATE_READY, starts=1, pid=7)
    made.replicas.add(
        id="r-bbbbbb", digest="sha256:2", state=REPLICA_STATE_FAILED, starts=3, reason="LOAD_FAILED", message="no"
    )
    made.endpoints.generation = 4
    made.endpoints.endpoint.gateway = "http://127.0.0.1:7680"
    made.endpoints.replicas.add(
        id="r-aaaaaa", grpc_address="unix:/a", weight=100, model_version="m/1", digest="sha256:1"
    )
    made.endpoints.replicas.add(id="r-bbbbbb", grpc_address="unix:/b", weight=0, digest="sha256:2")
    return made


@given(DECISIONS)
def test_a_decision_comes_back_from_the_ledger_as_it_went(decision: Decision) -> None:
    message = pb.Decision.FromString(decision_to(decision).SerializeToString())
    assert decision_from(message) == decision


@given(st.floats(0, 4e9))
def test_a_time_is_rounded_once(time_s: float) -> None:
    decision = Decision(1, verdicts=(Verdict(Version("m", "d"), "R", "", time_s),))
    once = decision_from(decision_to(decision))
    assert decision_from(decision_to(once)) == once


def test_orders_are_read_field_by_field() -> None:
    assert orders_from(orders()) == Orders(
        generation=3,
        wanted=Version("m/1", "sha256:1"),
        bounds=Bounds(1, 1),
        replicas=(
            Replica("r-aaaaaa", Version("m/1", "sha256:1"), ready=True, starts=1),
            Replica("r-bbbbbb", Version("", "sha256:2"), failed=True, starts=3, reason="LOAD_FAILED", message="no"),
        ),
        routed=("sha256:1",),
        decision=Decision(),
    )


@pytest.mark.parametrize(("low", "high", "bounds"), [(0, 0, (1, 1)), (2, 0, (2, 2)), (2, 5, (2, 5)), (5, 2, (5, 5))])
def test_bounds_that_are_left_out_follow_the_least(low: int, high: int, bounds: tuple[int, int]) -> None:
    made = orders(spec=PositionSpec(replicas=Replicas(min=low, max=high)))
    assert orders_from(made).bounds == Bounds(*bounds)


def test_a_spec_that_says_nothing_is_scaled_for_deadlines() -> None:
    spec = PositionSpec(replicas=Replicas(min=1, max=4))
    assert autoscaling_from(spec) == Autoscaling(Bounds(1, 4), DEFAULT, USUAL, UP, DOWN)


def test_what_a_spec_says_of_scaling_is_read_field_by_field() -> None:
    spec = PositionSpec(replicas=Replicas(min=2, max=8))
    spec.resources.cpu_millis, spec.resources.memory_bytes = 1500, 1 << 30
    spec.autoscaling.targets.CopyFrom(ScalingTargets(cpu=0.5, memory=0.25, concurrency=3, deadline_miss_rate=0.02))
    spec.autoscaling.targets.queue_time.FromMilliseconds(5)
    up, down = spec.autoscaling.scale_up, spec.autoscaling.scale_down
    up.CopyFrom(ScalingRules(select_policy=SCALING_SELECT_MIN, tolerance=0.0))
    up.policies.append(ScalingPolicy(type=SCALING_POLICY_TYPE_REPLICAS, value=2))
    up.policies.append(ScalingPolicy(type=SCALING_POLICY_TYPE_PERCENT, value=50))
    for seconds, policy in zip((10, 20), up.policies, strict=True):
        policy.period.FromSeconds(seconds)
    up.stabilization_window.FromSeconds(3)
    down.stabilization_window.FromSeconds(0)
    down.select_policy = SCALING_SELECT_DISABLED
    assert autoscaling_from(spec) == Autoscaling(
        Bounds(2, 8),
        Targets(0.75, 256 << 20, 3.0, 0.005, 0.02),
        Tolerance(0.0, 0.1),
        Rules(3.0, (Policy(10.0, replicas=2), Policy(20.0, share=0.5)), Select.SMALLEST),
        Rules(0.0, DOWN.policies, Select.DISABLED),
    )


def test_who_serves_answers_and_gets_calls() -> None:
    made = orders()
    assert serving(made) == {"r-aaaaaa"}
    made.endpoints.replicas[0].weight = 0
    assert serving(made) == frozenset()


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff",
        pb.PositionOrders(position="projects/p/applications/a/positions/other").SerializeToString(),
        pb.PositionOrders(position=POSITION, model_version="m/1").SerializeToString(),
        orders(spec=PositionSpec(replicas=Replicas(min=65))).SerializeToString(),
        orders(spec=PositionSpec(replicas=Replicas(min=-1))).SerializeToString(),
    ],
)
def test_orders_that_cannot_be_acted_upon_are_refused(broken: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        read_orders(broken, POSITION)
    assert caught.value.reason == "BAD_ORDERS"
    assert caught.value.hint


def test_metrics_say_what_was_counted_and_used() -> None:
    latency = Histogram()
    latency.add(0.002, 10)
    sample = HostMetrics(
        replica="r-aaaaaa",
        window_ms=1000,
        requests=10,
        errors=1,
        deadline_misses=2,
        queue_depth=3,
        latency=latency.to_proto(),
        inside_us=500_000,
        waiting_us=250_000,
        busy_us=1_200_000,
        processes=2,
        model_metrics=[ModelMetric(name="hits", counter=2), ModelMetric(name="depth", help="of trees", gauge=7)],
    )
    window = window_from(sample) + window_from(sample) + Window(loops=Loops.of([Loop(5.0), Loop(1.0, failed=True)]))
    usage = {"r-aaaaaa": Usage(0.5, 3 << 20), MONITOR: Usage(0.25, 1 << 20)}
    sized = orders(server_cpu_millis=2000, server_memory_bytes=8 << 20)
    metrics = metrics_to(sized, window, usage, now=12.5, elapsed_s=9.0)
    assert (metrics.name, metrics.time.ToMilliseconds(), metrics.window_ms) == (POSITION, 12_500, 2000)
    assert (metrics.requests, metrics.errors, metrics.deadline_misses, metrics.queue_depth) == (20, 2, 4, 3)
    assert (metrics.cpu, metrics.memory_bytes, metrics.cpu_share, metrics.memory_share) == (0.75, 4 << 20, 0.375, 0.5)
    assert (metrics.concurrency, metrics.queue_time_ms, metrics.utilization) == (0.5, 25.0, 0.6)
    assert sum(metrics.latency.counts) == 20
    assert (sum(metrics.closed_loop.counts), metrics.loops_failed) == (1, 1)
    first, second = metrics.replicas
    assert (first.id, first.cpu, first.requests, first.model_version) == ("r-aaaaaa", 0.5, 20, "m/1")
    assert (first.concurrency, first.queue_time_ms, first.utilization) == (0.5, 25.0, 0.6)
    assert (second.id, second.cpu, second.requests) == ("r-bbbbbb", 0.0, 0)
    assert list(metrics.model_metrics) == [ModelMetric(name="hits", counter=4)]
    assert list(first.model_metrics) == [
        ModelMetric(name="depth", help="of trees", gauge=7),
        ModelMetric(name="hits", counter=4),
    ]


ARRIVES_AS = {
    "replica": {"replicas"},
    "window_ms": {"window_ms"},
    "requests": {"requests"},
    "errors": {"errors"},
    "deadline_misses": {"deadline_misses"},
    "wasted_runs": {"wasted_runs"},
    "queue_depth": {"queue_depth"},
    "latency": {"latency"},
    "model_metrics": {"model_metrics"},
    "inside_us": {"concurrency"},
    "waiting_us": {"queue_time_ms"},
    "busy_us": {"utilization"},
    "processes": {"utilization"},
}
"""Field of HostMetrics -> fields of PositionMetrics that tell of it. One that none tells of gets an empty set here, and
the reason."""


def told(sample: HostMetrics) -> PositionMetrics:
    return metrics_to(orders(), window_from(sample), {}, now=1.0, elapsed_s=1.0)


@pytest.mark.parametrize("name", HostMetrics.DESCRIPTOR.fields_by_name)
def test_whatever_a_host_counts_is_told(name: str) -> None:
    latency = Histogram()
    latency.add(0.002, 10)
    full = HostMetrics(replica="r-aaaaaa", latency=latency.to_proto(), model_metrics=[ModelMetric(name="n", counter=2)])
    for field in full.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_INT64:
            setattr(full, field.name, 3)
    assert {field.name for field, _ in full.ListFields()} == set(full.DESCRIPTOR.fields_by_name), "each is set"
    without = HostMetrics()
    without.CopyFrom(full)
    without.ClearField(name)
    one, other = told(full), told(without)
    differ = {field.name for field in one.DESCRIPTOR.fields if getattr(one, field.name) != getattr(other, field.name)}
    assert ARRIVES_AS[name] <= differ
    if name != "window_ms":
        assert one.replicas != other.replicas, "of each replica too"


def test_a_window_without_hosts_is_as_long_as_the_clock_says_and_shares_need_a_size() -> None:
    metrics = metrics_to(orders(), Window(), {MONITOR: Usage(0.1, 100)}, now=1.0, elapsed_s=10.0)
    assert (metrics.window_ms, metrics.cpu_share, metrics.memory_share) == (10_000, 0.0, 0.0)


def test_endpoints_are_those_who_get_calls() -> None:
    endpoints = endpoints_to(orders(), "tower-7")
    assert [replica.id for replica in endpoints.replicas] == ["r-aaaaaa"]
    assert (endpoints.generation, endpoints.gateway, endpoints.model) == (4, "http://127.0.0.1:7680", "tower-7")
    assert endpoints.replicas[0].address == "unix:/a"
