"""What the positions of a project ask for, and whether that is within its quota. Pure.

A quota is an upper bound on what was asked for, not on what is measured. It is checked where something asks for more:
where a quota was lowered below what is there, everything goes on, and only asking for more is refused.
"""

from collections.abc import Iterable

from google.protobuf.message import Message

from control_plane.domain.check import refuse
from waypost import names
from waypost.api.control.v1.position_pb2 import Position
from waypost.api.control.v1.project_pb2 import ResourceAmounts
from waypost.errors import Exhausted

KINDS = ("positions", "replicas", "cpu_millis", "memory_bytes")
WORDS = {"cpu_millis": "CPU (thousandths)", "memory_bytes": "bytes of memory"}


def used_by(positions: Iterable[Position]) -> ResourceAmounts:
    """All together."""
    total = ResourceAmounts()
    for position in positions:
        asked = asked_by(position)
        for kind in KINDS:
            setattr(total, kind, getattr(total, kind) + getattr(asked, kind))
    return total


def asked_by(position: Position) -> ResourceAmounts:
    """By one position: for as many replicas as it may have."""
    spec = position.spec
    replicas = max(1, spec.replicas.min, spec.replicas.max)
    return ResourceAmounts(
        positions=1,
        replicas=replicas,
        cpu_millis=replicas * spec.resources.cpu_millis,
        memory_bytes=replicas * spec.resources.memory_bytes,
    )


def check_quota(quota: ResourceAmounts, others: ResourceAmounts, after: Position, before: Position | None) -> None:
    """Whether a position may become as it is in `after`, beside the `others` of its project. before: None: it is new.

    Raises: Exhausted(QUOTA_EXCEEDED), Invalid(INVALID_FIELD) where a quota needs a limit that the position lacks.
    """
    asks, asked = asked_by(after), asked_by(before) if before else ResourceAmounts()
    for kind in KINDS:
        limit = getattr(quota, kind)
        if not limit:
            continue
        if not getattr(asks, kind) and (before is None or getattr(asked, kind)):
            _refuse_unlimited(after, kind)
        if getattr(asks, kind) > getattr(asked, kind) and getattr(others, kind) + getattr(asks, kind) > limit:
            raise _exceeded(after, kind, limit, getattr(others, kind), getattr(asks, kind))


def project_name(position: str) -> str:
    """`projects/{project}` of a position's full name."""
    return names.parent(names.parent(position))


def is_set(quota: Message) -> bool:
    """Whether anything is limited."""
    return any(getattr(quota, kind) for kind in KINDS)


def _refuse_unlimited(position: Position, kind: str) -> None:
    project = names.short(project_name(position.name))
    problem = f"must not be 0: project {project!r} has a quota of it, and no limit would be all of it"
    refuse(f"position.spec.resources.{kind}", problem, "say what one replica may use: --cpu, --memory")


def _exceeded(position: Position, kind: str, limit: int, others: int, asks: int) -> Exhausted:
    project, word = names.short(project_name(position.name)), WORDS.get(kind, kind)
    return Exhausted(
        "QUOTA_EXCEEDED",
        f"project {project!r} may have {limit} {word}: its other positions have {others}, and"
        f" {names.short(position.name)!r} asks for {asks}",
        f"ask for less, delete a position, or have the quota raised: `waypost project update {project} --help`",
        project=project,
        quota=f"{kind}={limit}",
        used=str(others),
        asked=str(asks),
    )
