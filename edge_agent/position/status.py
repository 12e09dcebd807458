"""The status of a position: a pure function of what is known of it. Never empty, never a lie.

    deleting                                                     DELETING
    as specified, proved by a probe inference, monitor there     IN_SERVICE
                       ... a newer generation is held back       UPDATING
                       ... and has to be helped (changes.py)     DEGRADED
    something answers  ... the generation was in service before  DEGRADED
                       ... its version was rejected              DEGRADED
                       ... first deployment, and it has trouble  DEGRADED
                       ... first deployment                      DEPLOYING
                       ... otherwise                             UPDATING
    nothing answers    ... it has served before, or has trouble  OUT_OF_SERVICE
                       ... otherwise                             DEPLOYING

The message says who answers and what is being waited for, or what is wrong; the hint what to do about that.
"""

from collections.abc import Iterator

from edge_agent.failure import Failure
from edge_agent.machine.software import software_of
from edge_agent.position.conditions import NOT_ANSWERING, conditions, dated, trouble
from edge_agent.position.diff import Phase, digest_of
from edge_agent.position.picture import HostView, Picture, label
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.link.v1.monitor_link_pb2 import Verdict

STILL_UNDER_WAY = frozenset({"SOURCE_UNREACHABLE"})  # nothing is wrong here: it goes on when the other side is back

PASSES = frozenset({"MAINTENANCE_WINDOW", "HELD"})  # people have asked for it: nothing is wrong

_STATES = {
    Phase.STARTING: pb.REPLICA_STATE_STARTING,
    Phase.READY: pb.REPLICA_STATE_READY,
    Phase.SILENT: pb.REPLICA_STATE_FAILED,
    Phase.ENDED: pb.REPLICA_STATE_FAILED,
    Phase.DRAINING: pb.REPLICA_STATE_DRAINING,
}


def status_of(picture: Picture, before: pb.PositionStatus | None, now: float) -> pb.PositionStatus:
    """The status to report. before: the last one, for the times of its conditions. now: Unix seconds."""
    wrong = trouble(picture) or picture.held
    state = _state(picture, wrong)
    return pb.PositionStatus(
        state=state,
        message=_message(picture, state, wrong),
        hint=wrong.hint if wrong and state != pb.POSITION_STATE_IN_SERVICE else "",
        observed_generation=picture.generation,
        conditions=dated(conditions(picture), before.conditions if before else (), now),
        replicas=[_replica_status(view) for view in picture.hosts],
        serving=list(_serving(picture)),
        endpoint=picture.endpoint if picture.live.entries or picture.served_generation else None,
        rejected=[_rejected(verdict) for verdict in picture.verdicts],
        monitor_software_version=picture.monitor.software,
        held_generation=picture.held_generation,
    )


def gone_status(generation: int) -> pb.PositionStatus:
    """Of a position that is to go and of which nothing is here."""
    deleting = pb.POSITION_STATE_DELETING
    return pb.PositionStatus(state=deleting, message="nothing is left of it here", observed_generation=generation)


def replica_state(phase: Phase) -> pb.ReplicaState.ValueType:
    return _STATES[phase]


def _state(picture: Picture, wrong: Failure | None) -> pb.PositionState.ValueType:
    if picture.wanted.deleting:
        return pb.POSITION_STATE_DELETING
    if picture.in_service:
        return _in_service(picture.held)
    first = picture.served_generation == 0
    stuck = wrong is not None and wrong.reason not in STILL_UNDER_WAY
    if not picture.answers:
        return pb.POSITION_STATE_OUT_OF_SERVICE if stuck or not first else pb.POSITION_STATE_DEPLOYING
    if picture.served_generation == picture.generation or picture.rejection is not None or (first and stuck):
        return pb.POSITION_STATE_DEGRADED
    return pb.POSITION_STATE_DEPLOYING if first else pb.POSITION_STATE_UPDATING


def _in_service(held: Failure | None) -> pb.PositionState.ValueType:
    """As what is carried out asks; that may not be the newest."""
    if held is None:
        return pb.POSITION_STATE_IN_SERVICE
    return pb.POSITION_STATE_UPDATING if held.reason in PASSES else pb.POSITION_STATE_DEGRADED


def _message(picture: Picture, state: pb.PositionState.ValueType, wrong: Failure | None) -> str:
    because = wrong.message if wrong else _progress(picture)
    match state:
        case pb.POSITION_STATE_DELETING:
            return f"{len(picture.hosts)} replicas are left to drain" if picture.hosts else "its hosts are gone"
        case pb.POSITION_STATE_IN_SERVICE:
            return _answering(picture)
        case pb.POSITION_STATE_DEGRADED | pb.POSITION_STATE_UPDATING:
            return f"{_answering(picture)}; {because}"
    return because


def _answering(picture: Picture) -> str:
    """`path-gru/4 answers with 2 replicas`, for each version that gets calls."""
    parts = []
    for shape_ in sorted(picture.live.weights):
        routed = picture.routed(shape_)
        version = next((view.version for view in picture.hosts if view.replica.shape == shape_), None)
        name = label(version) if version else digest_of(shape_)[:19]
        parts.append(f"{name} answers with {routed} replica{'' if routed == 1 else 's'}")
    return ", ".join(parts) or "nothing answers"


def _progress(picture: Picture) -> str:
    """What is being waited for."""
    name, least = label(picture.wanted.version), picture.wanted.replicas_min
    if picture.wanted.version.digest not in picture.fetched and not picture.ready:
        return f"{name} is being fetched"
    if picture.ready < least:
        return f"{picture.ready} of {least} replicas of {name} are ready"
    if picture.wanted_shape not in picture.live.weights or not picture.acknowledged:
        return f"{name} is ready and waits for its route"
    if picture.live.weights.keys() != {picture.wanted_shape}:
        return f"{name} is taking over"
    if not picture.monitor.connected and not picture.served_generation:
        return f"{name} is ready and waits for the position's monitor"
    return f"{name} is being tried through the gateway"


def _replica_status(view: HostView) -> pb.ReplicaStatus:
    failure = view.failure or (NOT_ANSWERING if view.replica.phase is Phase.SILENT else None)
    return pb.ReplicaStatus(
        id=view.replica.id,
        model_version=view.version.name,
        state=_STATES[view.replica.phase],
        reason=failure.reason if failure else "",
        message=failure.message if failure else "",
        starts=view.starts,
        software_version=software_of(view.replica.shape),
    )


def _serving(picture: Picture) -> Iterator[pb.ServingVersion]:
    for shape_, weight in sorted(picture.live.weights.items()):
        name = next((view.version.name for view in picture.hosts if view.replica.shape == shape_), "")
        yield pb.ServingVersion(
            model_version=name,
            digest=digest_of(shape_),
            weight=weight,
            replicas_ready=picture.routed(shape_),
        )


def _rejected(verdict: Verdict) -> pb.RejectedVersion:
    return pb.RejectedVersion(
        model_version=verdict.model_version,
        digest=verdict.digest,
        reason=verdict.reason,
        evidence=verdict.evidence,
        time=verdict.time,
    )
