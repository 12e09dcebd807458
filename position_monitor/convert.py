"""Messages of the links to values that are decided by, and back. Nothing else in the monitor does this."""

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from mesh import measures
from mesh.metrics import Histogram
from mesh.position import REPLICAS_MAX
from mesh.times import seconds
from position_monitor.autoscale import DOWN, UP, Autoscaling, Bounds, Policy, Rules, Select
from position_monitor.demand import DEFAULT, USUAL, Targets, Tolerance
from position_monitor.rollout import Decision, Orders, Replica, Share, Verdict, Version
from position_monitor.usage import NOTHING, Usage
from position_monitor.window import Counts, Window
from waypost.api.control.v1.position_pb2 import (
    REPLICA_STATE_FAILED,
    REPLICA_STATE_READY,
    SCALING_POLICY_TYPE_PERCENT,
    SCALING_SELECT_DISABLED,
    SCALING_SELECT_MIN,
    PositionMetrics,
    PositionSpec,
    ReplicaMetrics,
    ScalingPolicy,
    ScalingRules,
    ScalingTargets,
)
from waypost.api.link.v1 import monitor_link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics
from waypost.api.xapp.v1 import access_pb2 as xapp
from waypost.errors import Invalid

GENERATION_MAX = 2**31 - 1  # what xapp.v1 can say: its messages have no 64-bit integers


def read_orders(body: bytes, position: str) -> pb.PositionOrders:
    """Orders that can be acted upon. Raises: Invalid(BAD_ORDERS)."""
    try:
        message = pb.PositionOrders.FromString(body)
    except DecodeError as error:
        raise _bad_orders(position, "they cannot be decoded") from error
    replicas = message.spec.replicas
    if message.position != position:
        raise _bad_orders(position, f"they are for {message.position!r}")
    if not message.model_version or not message.digest:
        raise _bad_orders(position, "they name no model version, or no digest")
    if not (0 <= replicas.min <= REPLICAS_MAX and 0 <= replicas.max <= REPLICAS_MAX):
        raise _bad_orders(
            position, f"they ask for {replicas.min}..{replicas.max} replicas, 1..{REPLICAS_MAX} can be had"
        )
    return message


def orders_from(message: pb.PositionOrders) -> Orders:
    """What `rollout.decide` takes. `message` was read by `read_orders`."""
    return Orders(
        generation=message.generation,
        wanted=Version(message.model_version, message.digest),
        bounds=bounds_from(message.spec),
        replicas=tuple(_replica_from(replica) for replica in message.replicas),
        routed=tuple(replica.digest for replica in message.endpoints.replicas if replica.weight > 0),
        decision=decision_from(message.decision),
    )


def bounds_from(spec: PositionSpec) -> Bounds:
    least = spec.replicas.min or 1
    return Bounds(least, max(least, spec.replicas.max))


def autoscaling_from(spec: PositionSpec) -> Autoscaling:
    """What a position is scaled by. What a spec leaves out is as the module `autoscale` has it."""
    wanted = spec.autoscaling
    return Autoscaling(
        bounds=bounds_from(spec),
        targets=_targets_from(wanted.targets, spec),
        tolerance=Tolerance(
            above=wanted.scale_up.tolerance if wanted.scale_up.HasField("tolerance") else USUAL.above,
            below=wanted.scale_down.tolerance if wanted.scale_down.HasField("tolerance") else USUAL.below,
        ),
        up=_rules_from(wanted.scale_up, UP),
        down=_rules_from(wanted.scale_down, DOWN),
    )


def in_state(message: pb.PositionOrders, state: int) -> frozenset[str]:
    """Ids of the replicas that are in it."""
    return frozenset(replica.id for replica in message.replicas if replica.state == state)


def serving(message: pb.PositionOrders) -> frozenset[str]:
    """Ids of the replicas that answer and get calls."""
    routed = {replica.id for replica in message.endpoints.replicas if replica.weight > 0}
    return in_state(message, REPLICA_STATE_READY) & routed


def decision_from(message: pb.Decision) -> Decision:
    return Decision(
        number=message.number,
        generation=message.generation,
        shares=tuple(
            Share(Version(s.model_version, s.digest), s.replicas, s.weight, tuple(s.leaving)) for s in message.shares
        ),
        verdicts=tuple(_verdict_from(verdict) for verdict in message.verdicts),
        reason=message.reason,
    )


def decision_to(decision: Decision) -> pb.Decision:
    return pb.Decision(
        number=decision.number,
        generation=decision.generation,
        shares=[_share_to(share) for share in decision.shares],
        verdicts=[_verdict_to(verdict) for verdict in decision.verdicts],
        reason=decision.reason,
    )


def window_from(message: HostMetrics) -> Window:
    counts = Counts(
        length_s=message.window_ms / 1000,
        requests=message.requests,
        errors=message.errors,
        deadline_misses=message.deadline_misses,
        wasted_runs=message.wasted_runs,
        queue_depth=message.queue_depth,
        latency=Histogram.from_proto(message.latency),
        inside_s=message.inside_us / 1e6,
        waiting_s=message.waiting_us / 1e6,
        busy_s=message.busy_us / 1e6,
        processes=message.processes,
        measures=measures.from_protos(message.model_metrics),
    )
    return Window({message.replica: counts})


def metrics_to(
    orders: pb.PositionOrders, window: Window, usage: Mapping[str, Usage], *, now: float, elapsed_s: float
) -> PositionMetrics:
    """What goes up.

    usage: by replica id, with the monitor's own under its name. now: Unix seconds, the end of the window.
    elapsed_s: its length where no host said how long it counted.
    """
    total = window.total
    cpu = sum(used.cpu for used in usage.values())
    memory_bytes = sum(used.memory_bytes for used in usage.values())
    return PositionMetrics(
        name=orders.position,
        time=_timestamp(now),
        window_ms=round((total.length_s or elapsed_s) * 1000),
        cpu=cpu,
        memory_bytes=memory_bytes,
        cpu_share=_share_of(cpu * 1000, orders.server_cpu_millis),
        memory_share=_share_of(memory_bytes, orders.server_memory_bytes),
        requests=total.requests,
        errors=total.errors,
        deadline_misses=total.deadline_misses,
        wasted_runs=total.wasted_runs,
        queue_depth=total.queue_depth,
        latency=total.latency.to_proto(),
        model_metrics=measures.to_protos(total.measures),
        concurrency=total.concurrency,
        queue_time_ms=total.queue_time_s * 1000,
        utilization=total.utilization,
        closed_loop=window.loops.closed.to_proto(),
        loops_failed=window.loops.failed,
        loops_late=window.loops.late,
        replicas=[
            _replica_metrics_to(replica, window.replicas.get(replica.id, Counts()), usage.get(replica.id, NOTHING))
            for replica in orders.replicas
        ],
    )


def endpoints_to(orders: pb.PositionOrders, serve_as: str) -> xapp.EndpointSet:
    """Who answers now: replicas without calls are left out."""
    return xapp.EndpointSet(
        position=orders.position,
        position_uid=orders.uid,
        generation=orders.endpoints.generation % GENERATION_MAX,
        gateway=orders.endpoints.endpoint.gateway,
        model=serve_as,
        replicas=[
            xapp.ReplicaEndpoint(
                id=replica.id,
                address=replica.grpc_address,
                weight=replica.weight,
                model_version=replica.model_version,
                digest=replica.digest,
            )
            for replica in orders.endpoints.replicas
            if replica.weight > 0
        ],
    )


def _bad_orders(position: str, why: str) -> Invalid:
    return Invalid(
        "BAD_ORDERS",
        f"the orders for {position} cannot be taken: {why}",
        "the last good ones stay in force; look for an agent of another version",
        position=position,
    )


def _targets_from(message: ScalingTargets, spec: PositionSpec) -> Targets:
    targets = Targets(
        cpu=message.cpu * spec.resources.cpu_millis / 1000,
        memory_bytes=message.memory * spec.resources.memory_bytes,
        concurrency=message.concurrency,
        queue_time_s=message.queue_time.ToMicroseconds() / 1e6,
        deadline_miss_rate=message.deadline_miss_rate,
    )
    return DEFAULT if targets == Targets() else targets


def _rules_from(message: ScalingRules, default: Rules) -> Rules:
    selects = {SCALING_SELECT_MIN: Select.SMALLEST, SCALING_SELECT_DISABLED: Select.DISABLED}
    window = message.stabilization_window
    return Rules(
        window_s=seconds(window) if message.HasField("stabilization_window") else default.window_s,
        policies=tuple(_policy_from(policy) for policy in message.policies) or default.policies,
        select=selects.get(message.select_policy, Select.LARGEST),
    )


def _policy_from(message: ScalingPolicy) -> Policy:
    period_s = seconds(message.period)
    if message.type == SCALING_POLICY_TYPE_PERCENT:
        return Policy(period_s, share=message.value / 100)
    return Policy(period_s, replicas=message.value)


def _replica_from(message: pb.RunningReplica) -> Replica:
    return Replica(
        id=message.id,
        version=Version(message.model_version, message.digest),
        ready=message.state == REPLICA_STATE_READY,
        failed=message.state == REPLICA_STATE_FAILED,
        starts=message.starts,
        reason=message.reason,
        message=message.message,
    )


def _share_to(share: Share) -> pb.VersionShare:
    version = share.version
    return pb.VersionShare(
        model_version=version.name,
        digest=version.digest,
        replicas=share.replicas,
        weight=share.weight,
        leaving=share.leaving,
    )


def _verdict_from(message: pb.Verdict) -> Verdict:
    version = Version(message.model_version, message.digest)
    return Verdict(version, message.reason, message.evidence, message.time.ToMicroseconds() / 1e6)


def _verdict_to(verdict: Verdict) -> pb.Verdict:
    return pb.Verdict(
        model_version=verdict.version.name,
        digest=verdict.version.digest,
        reason=verdict.reason,
        evidence=verdict.evidence,
        time=_timestamp(verdict.time_s),
    )


def _replica_metrics_to(replica: pb.RunningReplica, counts: Counts, used: Usage) -> ReplicaMetrics:
    return ReplicaMetrics(
        id=replica.id,
        model_version=replica.model_version,
        cpu=used.cpu,
        memory_bytes=used.memory_bytes,
        requests=counts.requests,
        errors=counts.errors,
        deadline_misses=counts.deadline_misses,
        wasted_runs=counts.wasted_runs,
        queue_depth=counts.queue_depth,
        latency=counts.latency.to_proto(),
        model_metrics=measures.to_protos(counts.measures),
        concurrency=counts.concurrency,
        queue_time_ms=counts.queue_time_s * 1000,
        utilization=counts.utilization,
    )


def _share_of(part: float, whole: int) -> float:
    """0..1; 0 where the size of the edge server is not known."""
    return part / whole if whole > 0 else 0.0


def _timestamp(unix_s: float) -> Timestamp:
    """To the microsecond: a verdict that comes back from the agent is the same one."""
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(unix_s * 1e6))
    return timestamp
