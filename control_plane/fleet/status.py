"""What an edge server's status says, step by step. Pure: the status before, what happened, the time; the status after.

Its state is about the link alone. A connection that breaks is no news yet: agents come back within moments, and only
when the lease has run out is the edge server DISCONNECTED. What it serves it serves on, and the message says so. After
a restart of ours nobody is connected until he has called: what the process before knew is no longer so.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from control_plane.conditions import condition
from mesh.link import Refusal
from mesh.times import seconds, timestamp
from waypost import names
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, Condition
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
    RefusedAssignment,
)
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport
from waypost.rpc import from_status

AGENT_CONNECTED, DESIRED_ACCEPTED, SINGLE = "AgentConnected", "DesiredStateAccepted", "SingleAgent"
OURS = (AGENT_CONNECTED, DESIRED_ACCEPTED, SINGLE)
"""Conditions that are judged here; all others are the agent's own."""


def connected(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """Its agent has just been welcomed."""
    after = _heard(before, now)
    after.state = EDGE_SERVER_STATE_CONNECTED
    after.message, after.hint = "its agent is connected", ""
    after.connected_since_time.CopyFrom(timestamp(now))
    return _with(after, condition(AGENT_CONNECTED, True, before.conditions, now=now))


def reported(before: EdgeServerStatus, report: EdgeServerReport, *, now: float) -> EdgeServerStatus:
    """Its agent said what it is and has."""
    after = _heard(before, now)
    for field in ("agent_version", "driver", "driver_version", "gateway", "gateway_version", "gateway_address"):
        setattr(after, field, getattr(report, field))
    after.capacity.CopyFrom(report.capacity)
    after.trusted_roots[:] = report.trusted_roots
    after.software_versions[:] = report.software_versions
    ours = [kept for kept in before.conditions if kept.type in OURS]
    theirs = [told for told in report.conditions if told.type not in OURS]
    _replace_conditions(after, [*ours, *theirs])
    return after


def sent(before: EdgeServerStatus, version: int) -> EdgeServerStatus:
    """A desired state is on its way."""
    after = _copy(before)
    after.desired_version = version
    return after


def accepted(before: EdgeServerStatus, version: int, refusals: Sequence[Refusal], *, now: float) -> EdgeServerStatus:
    """Its agent holds a desired state durably, but for what it refused: positions, or without a name the whole."""
    after = _heard(before, now)
    after.accepted_version = version
    del after.refused[:]
    after.refused.extend(_refused(refusal) for refusal in refusals if refusal.name)
    if not refusals:
        return _with(after, condition(DESIRED_ACCEPTED, True, before.conditions, now=now))
    whole = next((refusal for refusal in refusals if not refusal.name), None)
    judged = (
        condition(
            DESIRED_ACCEPTED,
            False,
            before.conditions,
            now=now,
            reason=_whole_reason(whole),
            message=f"its agent keeps what it has: {whole.error.message}",
            hint="see that the store is the right one; then say that it is meant: `waypost edge-server confirm`",
        )
        if whole
        else condition(
            DESIRED_ACCEPTED,
            False,
            before.conditions,
            now=now,
            reason="ITEM_REFUSED",
            message=_first_refused(after.refused),
            hint=after.refused[0].hint,
        )
    )
    return _with(after, judged)


def _whole_reason(refusal: Refusal) -> str:
    """PRUNE_REFUSED or SET_BACK_REFUSED (mesh.link_core)."""
    return from_status(refusal.error).reason


def _first_refused(refused: Sequence[RefusedAssignment]) -> str:
    first = refused[0]
    return f"its agent refused {len(refused)} of its positions; {names.short(first.position)}: {first.message}"


def _refused(refusal: Refusal) -> RefusedAssignment:
    error = from_status(refusal.error)
    return RefusedAssignment(
        position=refusal.name,
        generation=refusal.generation,
        reason=error.reason,
        message=error.message,
        hint=error.hint or "the agent may be too old for what the position asks for: upgrade it",
    )


def doubled(before: EdgeServerStatus, first: str, second: str, *, now: float) -> EdgeServerStatus:
    """A second agent with its identity was refused. first, second: where the two come from; may be empty."""
    twice = condition(
        SINGLE,
        False,
        before.conditions,
        now=now,
        reason="DUPLICATE_IDENTITY",
        message=f"two agents have its identity: one from {first or '?'}, and one that is refused, from {second or '?'}",
        hint="stop one of them; a copied machine needs an edge server and a join token of its own",
    )
    return _with(_copy(before), twice)


def single(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """No second agent has been seen for long."""
    return _with(_copy(before), condition(SINGLE, True, before.conditions, now=now))


def heard(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """Its agent said something else."""
    return _heard(before, now)


def link_lost(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """The connection broke; the lease has not run out."""
    lost = condition(
        AGENT_CONNECTED,
        False,
        before.conditions,
        now=now,
        reason="LINK_LOST",
        message="the connection to its agent broke; it usually comes back within seconds",
    )
    return _with(_copy(before), lost)


def alone(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """Read by a process that has seen no second agent itself: one that is still there shows itself again."""
    doubled = any(kept.type == SINGLE and kept.status == CONDITION_STATUS_FALSE for kept in before.conditions)
    return single(before, now=now) if doubled else _copy(before)


def inherited(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """The control plane that spoke for it is no more; its agent has a lease to come to one that lives."""
    after = alone(before, now=now)
    return link_lost(after, now=now) if before.state == EDGE_SERVER_STATE_CONNECTED else after


def restarted(before: EdgeServerStatus, *, now: float) -> EdgeServerStatus:
    """This process has just begun; nobody has called yet."""
    after = alone(before, now=now)
    if before.state != EDGE_SERVER_STATE_CONNECTED:
        return after
    after.state = EDGE_SERVER_STATE_DISCONNECTED
    after.message = (
        "the control plane has restarted, its agent usually calls within seconds; what it serves it serves on"
    )
    after.hint = ""
    lost = condition(AGENT_CONNECTED, False, before.conditions, now=now, reason="LINK_LOST", message=after.message)
    return _with(after, lost)


def lease_over(before: EdgeServerStatus, link_address: str, *, now: float) -> EdgeServerStatus:
    """Nothing was heard of its agent for a lease."""
    after = _copy(before)
    after.state = EDGE_SERVER_STATE_DISCONNECTED
    last_seen = datetime.fromtimestamp(seconds(before.last_seen_time), UTC)
    after.message = f"nothing heard of its agent since {last_seen:%Y-%m-%d %H:%M:%S} UTC; what it serves it serves on"
    after.hint = f"see that the machine is up, that its agent runs and that it reaches {link_address}"
    lost = condition(
        AGENT_CONNECTED,
        False,
        before.conditions,
        now=now,
        reason="AGENT_LOST",
        message=after.message,
        hint=after.hint,
    )
    return _with(after, lost)


def revoked(before: EdgeServerStatus, edge_server: EdgeServer, *, now: float) -> EdgeServerStatus:
    """It was shut out, and has not been let in since."""
    after = _copy(before)
    after.state = EDGE_SERVER_STATE_DISCONNECTED
    when = datetime.fromtimestamp(seconds(edge_server.revoke_time), UTC)
    after.message = f"revoked at {when:%Y-%m-%d %H:%M:%S} UTC: its agent is not let in; what it serves it serves on"
    after.hint = f"`waypost edge-server join-token {names.leaf(edge_server.name)}` makes a token that lets it in again"
    lost = condition(
        AGENT_CONNECTED,
        False,
        before.conditions,
        now=now,
        reason="AGENT_REVOKED",
        message=after.message,
        hint=after.hint,
    )
    return _with(after, lost)


def essence(status: EdgeServerStatus) -> bytes:
    """Everything but figures that change all the time, and what was sent: a desired state must not wait for its row."""
    kept = _copy(status)
    kept.ClearField("last_seen_time")
    kept.ClearField("desired_version")
    kept.capacity.ClearField("disk_free_bytes")
    return kept.SerializeToString(deterministic=True)


def _heard(before: EdgeServerStatus, now: float) -> EdgeServerStatus:
    after = _copy(before)
    after.last_seen_time.CopyFrom(timestamp(now))
    return after


def _with(status: EdgeServerStatus, judged: Condition) -> EdgeServerStatus:
    """`status` (changed in place) with this condition in the place of the one of its type."""
    others = [kept for kept in status.conditions if kept.type != judged.type]
    _replace_conditions(status, sorted([*others, judged], key=lambda each: each.type not in OURS))
    return status


def _replace_conditions(status: EdgeServerStatus, conditions: Iterable[Condition]) -> None:
    fresh = list(conditions)
    del status.conditions[:]
    status.conditions.extend(fresh)


def _copy(status: EdgeServerStatus) -> EdgeServerStatus:
    copy = EdgeServerStatus()
    copy.CopyFrom(status)
    return copy
