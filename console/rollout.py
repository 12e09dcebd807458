"""Whether a deployment has arrived, is on its way, or never will. Pure.

`waypost deploy --wait` looks at every form of the position that the platform sends and asks `judge`. The art is in
"never will". A host that fails to start is tried again, and an agent that is away comes back: whether a *version* is
hopeless the position's monitor judges, after a few starts, by a rejection. Only what nobody mends without being asked
is given up here at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from waypost import names
from waypost.api.control.v1.condition_pb2 import Condition, ConditionStatus
from waypost.api.control.v1.model_pb2 import ModelVersion, ModelVersionState
from waypost.api.control.v1.position_pb2 import Position, PositionState

SPEC_CONDITION = "VersionAvailable"
"""What the control plane says of the spec as it is now, whichever generation the rest of the status speaks of."""

HELD_CONDITION = "ChangesApplied"
"""What the edge server says of `held_generation`."""

NEEDS_A_PERSON = frozenset(
    {
        "AGENT_REVOKED",
        "ARTIFACT_MISSING",
        "BAD_PATH",
        "BAD_SAMPLES",
        "DIGEST_MISMATCH",
        "DISK_FULL",
        "EDGE_SERVER_NOT_FOUND",
        "HELD",
        "LIMITS_UNSUPPORTED",
        "MAINTENANCE_WINDOW",
        "PORTS_EXHAUSTED",
        "REJECTED",
        "SOFTWARE_NOT_INSTALLED",
        "VERSION_INVALID",
        "VERSION_NOT_FOUND",
        "VERSION_REJECTED",
        "VERSION_WITHDRAWN",
    }
)
"""Reasons of a failed condition that no time heals, or not while somebody waits."""


class Outcome(StrEnum):
    WAITING = "waiting"
    ARRIVED = "arrived"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to tell the person who waits. reason, message and hint are empty unless it FAILED."""

    outcome: Outcome
    reason: str = ""
    message: str = ""
    hint: str = ""


WAITING = Verdict(Outcome.WAITING)
ARRIVED = Verdict(Outcome.ARRIVED)


def judge(position: Position, *, generation: int) -> Verdict:
    """Of a position whose spec was written as `generation`."""
    status = position.status
    current = status.observed_generation >= generation
    if position.generation > generation:
        return _superseded(position, generation)
    if status.state == PositionState.POSITION_STATE_DELETING:
        return _failed("POSITION_DELETED", "the position is being deleted", "")
    rejected = [r for r in status.rejected if r.model_version == position.spec.model_version]
    if rejected:
        return _rejected(position, rejected[-1].reason, rejected[-1].evidence)
    if current and status.state == PositionState.POSITION_STATE_IN_SERVICE:
        return ARRIVED
    known = {SPEC_CONDITION, *([HELD_CONDITION] if status.held_generation >= generation else [])}
    hopeless = [c for c in _hopeless(status.conditions) if current or c.type in known]
    if hopeless:
        return _given_up(position, hopeless[0])
    return WAITING


def judge_version(version: ModelVersion) -> Verdict:
    """Of a model version that is to be deployed: ARRIVED means that it may be."""
    if version.state == ModelVersionState.MODEL_VERSION_STATE_AVAILABLE:
        return ARRIVED
    if version.state == ModelVersionState.MODEL_VERSION_STATE_WITHDRAWN:
        return _failed("VERSION_WITHDRAWN", "its source took the version back", "deploy another version")
    if version.state == ModelVersionState.MODEL_VERSION_STATE_INVALID:
        cause = next(iter(_false(version.conditions)), Condition(message="its check failed"))
        hint = "mend the model and publish it as another version: versions never change"
        return _failed("VERSION_INVALID", cause.message, cause.hint or hint)
    return WAITING


def _superseded(position: Position, generation: int) -> Verdict:
    return _failed(
        "SUPERSEDED",
        f"somebody changed the position again: it is at generation {position.generation}, not {generation}",
        f"`waypost position get {names.short(position.name)}` shows what is wanted now",
    )


def _rejected(position: Position, reason: str, evidence: str) -> Verdict:
    short = names.short(position.name)
    version = names.short(position.spec.model_version)
    return _failed(
        "VERSION_REJECTED",
        f"{version} was refused at {short}: {evidence} ({reason})",
        f"what served before goes on serving; to try it again: `waypost position clear-rejection {short} {version}`",
    )


def _given_up(position: Position, cause: Condition) -> Verdict:
    logs = f"`waypost logs {names.short(position.name)}` shows what its hosts said"
    return _failed(cause.reason, cause.message or position.status.message, cause.hint or position.status.hint or logs)


def _hopeless(conditions: Iterable[Condition]) -> list[Condition]:
    return [condition for condition in _false(conditions) if condition.reason in NEEDS_A_PERSON]


def _false(conditions: Iterable[Condition]) -> list[Condition]:
    return [c for c in conditions if c.status == ConditionStatus.CONDITION_STATUS_FALSE]


def _failed(reason: str, message: str, hint: str) -> Verdict:
    return Verdict(Outcome.FAILED, reason, message, hint)
