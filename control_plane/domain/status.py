"""What a position shows: what its edge server reported, and what only the control plane can know. Pure.

The agent speaks of what it was told. It cannot know that it is cut off, that nobody told it yet, or that it was told
something else than the spec says because the version may not be given out. Those truths are added here, on every
read: a state is never empty, and IN_SERVICE is never said of a spec that is not what serves.

Nothing here depends on when it is asked: a status that says the same is the same, byte for byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from control_plane.domain.assignments import AGENT_CONNECTED, version_of
from control_plane.domain.placement import deployable
from control_plane.domain.types import HeldReason
from waypost import names
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE, Condition
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_PENDING,
    EDGE_SERVER_STATE_UNSPECIFIED,
    EdgeServer,
    EdgeServerStatus,
)
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.link.v1.agent_link_pb2 import PositionReport

VERSION_AVAILABLE, ASSIGNMENT_ACCEPTED, DESIRED_ACCEPTED, FOLLOWS = (
    "VersionAvailable",
    "AssignmentAccepted",
    "DesiredStateAccepted",
    "FollowsControlPlane",
)

_SERVING = (pb.POSITION_STATE_IN_SERVICE, pb.POSITION_STATE_UPDATING)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else is known when a position is shown. None: does not exist, or was never reported."""

    report: PositionReport | None = None
    """Of the edge server that the spec names."""
    stand_in: str = ""
    """Edge server that stands in for it; empty for none."""
    stand_in_report: PositionReport | None = None
    edge_server: EdgeServer | None = None
    edge_server_status: EdgeServerStatus | None = None
    version: ModelVersion | None = None
    """The one that the spec names."""


def edge_server_status(edge_server: EdgeServer, observed: EdgeServerStatus | None) -> EdgeServerStatus:
    """What an edge server shows."""
    if observed is not None and observed.state != EDGE_SERVER_STATE_UNSPECIFIED:
        return observed
    status = EdgeServerStatus(
        state=EDGE_SERVER_STATE_PENDING,
        message="its agent has never connected",
        hint="make a token with `waypost edge-server join-token`, and start `waypost agent` on the machine with it",
    )
    status.conditions.append(_never_connected(edge_server))
    return status


def position_status(position: pb.Position, around: Surroundings) -> pb.PositionStatus:
    """What a position shows."""
    status = pb.PositionStatus()
    elsewhere = _elsewhere(position, around)
    report = elsewhere or _own(position, around.report)
    if report:
        status.CopyFrom(report.status)
    agent, version = _agent_condition(position, around), _version_condition(position, around, status)
    accepted = _accepted_condition(position, around)
    for judged in filter(None, (accepted, version, agent)):
        _add(status, judged)
    if position.HasField("delete_time"):
        _deleting(status, position, agent)
    elif report is None or status.state == pb.POSITION_STATE_UNSPECIFIED:
        _pending(status, position, filter(None, (version, agent, accepted, _of_server(around, FOLLOWS))))
    else:
        _as_specified(status, position, agent, version)
        _as_accepted(status, accepted)
        _as_followed(status, _of_server(around, FOLLOWS))
    status.edge_server = around.stand_in if elsewhere else position.spec.edge_server
    if elsewhere:
        _stood_in_for(status, position)
    return status


def _own(position: pb.Position, report: PositionReport | None) -> PositionReport | None:
    """A report of this very position, not of one that had its name before."""
    return report if report and report.uid == position.uid else None


def _elsewhere(position: pb.Position, around: Surroundings) -> PositionReport | None:
    """What the one that stands in says, unless its own edge server is there and serves it."""
    report = _own(position, around.stand_in_report)
    if report is None or report.gone:
        return None
    server, own = around.edge_server_status, _own(position, around.report)
    is_back = server is not None and server.state == EDGE_SERVER_STATE_CONNECTED
    return None if is_back and own is not None and own.status.serving else report


def _stood_in_for(status: pb.PositionStatus, position: pb.Position) -> None:
    stand_in, own = names.leaf(status.edge_server), names.leaf(position.spec.edge_server)
    status.message = f"{stand_in} stands in for {own}: {status.message}"


def _agent_condition(position: pb.Position, around: Surroundings) -> Condition:
    """As the edge server has it: whose state it is, his are the words."""
    if around.edge_server is None:
        return Condition(
            type=AGENT_CONNECTED,
            status=CONDITION_STATUS_FALSE,
            reason=HeldReason.EDGE_SERVER_NOT_FOUND,
            message=f"there is no edge server {names.leaf(position.spec.edge_server)!r}",
            hint="create it, or set spec.edge_server to another",
            since=position.update_time,
        )
    shown = edge_server_status(around.edge_server, around.edge_server_status)
    for judged in shown.conditions:
        if judged.type == AGENT_CONNECTED:
            return judged
    return _never_connected(around.edge_server)


def _accepted_condition(position: pb.Position, around: Surroundings) -> Condition | None:
    """Whether the edge server took what it was told of the position; None where it was never told anything."""
    server = around.edge_server_status or EdgeServerStatus()
    whole = _of_server(around, DESIRED_ACCEPTED)
    if whole is None:
        return None
    refused = next((each for each in server.refused if each.position == position.name), None)
    if refused is None and not (whole.status == CONDITION_STATUS_FALSE and not server.refused):
        return Condition(type=ASSIGNMENT_ACCEPTED, status=CONDITION_STATUS_TRUE, since=whole.since)
    why = refused or whole  # without a position's name it is about all of them
    return Condition(
        type=ASSIGNMENT_ACCEPTED,
        status=CONDITION_STATUS_FALSE,
        reason=why.reason,
        message=why.message,
        hint=why.hint,
        since=whole.since,
    )


def _of_server(around: Surroundings, type_: str) -> Condition | None:
    conditions = around.edge_server_status.conditions if around.edge_server_status else ()
    return next((judged for judged in conditions if judged.type == type_), None)


def _never_connected(edge_server: EdgeServer) -> Condition:
    return Condition(
        type=AGENT_CONNECTED,
        status=CONDITION_STATUS_FALSE,
        reason="AGENT_NEVER_CONNECTED",
        message=f"the agent of edge server {names.leaf(edge_server.name)!r} has never connected",
        hint="make a token with `waypost edge-server join-token`, and start `waypost agent` on the machine with it",
        since=edge_server.create_time,
    )


def _version_condition(position: pb.Position, around: Surroundings, status: pb.PositionStatus) -> Condition:
    rejected = {rejection.digest: rejection for rejection in status.rejected}
    version = version_of(around.version) if around.version else None
    reason = deployable(version, frozenset(rejected))
    short = names.short(position.spec.model_version)
    if reason is None:
        assert around.version is not None
        since = around.version.create_time
        return Condition(type=VERSION_AVAILABLE, status=CONDITION_STATUS_TRUE, since=since)
    message, hint = explain(reason, short)
    if reason is HeldReason.VERSION_REJECTED and version:
        refused = rejected[version.content.digest]
        message = f"{message}: {refused.reason}: {refused.evidence}" if refused.evidence else message
    return Condition(
        type=VERSION_AVAILABLE,
        status=CONDITION_STATUS_FALSE,
        reason=reason,
        message=message,
        hint=hint,
        since=around.version.update_time if around.version else position.update_time,
    )


def explain(reason: HeldReason, version: str) -> tuple[str, str]:
    """(message, hint) for a version that may not be given out."""
    match reason:
        case HeldReason.VERSION_NOT_FOUND:
            return f"there is no model version {version!r}", "deploy one that `waypost model version list` shows"
        case HeldReason.VERSION_IMPORTING:
            return f"model version {version!r} is still being imported", "wait until it is AVAILABLE"
        case HeldReason.VERSION_INVALID:
            return f"model version {version!r} failed its check", "its conditions say why; deploy another one"
        case HeldReason.VERSION_WITHDRAWN:
            return f"model version {version!r} was withdrawn by its source", "deploy another one"
        case HeldReason.VERSION_REJECTED:
            hint = "deploy another version, or clear the rejection to try it again"
            return f"this position has refused model version {version!r}", hint
        case HeldReason.EDGE_SERVER_NOT_FOUND:
            raise AssertionError("not about a version")


def _pending(status: pb.PositionStatus, position: pb.Position, conditions: Iterable[Condition]) -> None:
    """conditions: what may stand against it, the first to be named first."""
    status.state = pb.POSITION_STATE_PENDING
    blocker = next((judged for judged in conditions if judged.status == CONDITION_STATUS_FALSE), None)
    if blocker:
        status.message, status.hint = blocker.message, blocker.hint
    else:
        status.message = f"waiting for the agent of {names.leaf(position.spec.edge_server)!r} to take it"


def _deleting(status: pb.PositionStatus, position: pb.Position, agent: Condition) -> None:
    server = names.leaf(position.spec.edge_server)
    if agent.status == CONDITION_STATUS_FALSE:
        status.message, status.hint = f"leaves {server!r} as soon as its agent is back: {agent.message}", agent.hint
    elif status.state != pb.POSITION_STATE_DELETING:
        status.message, status.hint = f"leaving {server!r}", ""
    status.state = pb.POSITION_STATE_DELETING


def _as_specified(status: pb.PositionStatus, position: pb.Position, agent: Condition, version: Condition) -> None:
    """Corrects a state that was true of what the agent was told, and is not of the spec."""
    wanted = position.spec.model_version
    serves_wanted = any(serving.model_version == wanted for serving in status.serving)
    if status.state in _SERVING and version.status == CONDITION_STATUS_FALSE and not serves_wanted:
        status.state = pb.POSITION_STATE_DEGRADED
        status.message = f"serves what it had: {version.message}"
        status.hint = version.hint
    elif status.state == pb.POSITION_STATE_IN_SERVICE and status.observed_generation < position.generation:
        status.state = pb.POSITION_STATE_UPDATING
        status.message = f"generation {position.generation} is on its way to its edge server"
        status.hint = ""
        if agent.status == CONDITION_STATUS_FALSE:
            status.message, status.hint = f"{status.message}: {agent.message}", agent.hint


def _as_accepted(status: pb.PositionStatus, accepted: Condition | None) -> None:
    """It serves what it was told before: good, and not what was asked for."""
    if accepted is not None and accepted.status == CONDITION_STATUS_FALSE and status.state in _SERVING:
        status.state = pb.POSITION_STATE_DEGRADED
        status.message = f"serves what it had: its edge server refused the newest assignment: {accepted.message}"
        status.hint = accepted.hint


def _as_followed(status: pb.PositionStatus, follows: Condition | None) -> None:
    """What is on its way waits for somebody on the machine."""
    if status.state == pb.POSITION_STATE_UPDATING and follows and follows.status == CONDITION_STATUS_FALSE:
        status.message, status.hint = f"{status.message}: {follows.message}", follows.hint


def _add(status: pb.PositionStatus, judged: Condition) -> None:
    """Puts a condition first, in the place of the one of its type."""
    others = [kept for kept in status.conditions if kept.type != judged.type]
    del status.conditions[:]
    status.conditions.extend([judged, *others])
