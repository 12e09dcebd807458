"""Why something is not as it should be: a replica that ended, a route that is refused, a condition that is false."""

from dataclasses import dataclass

from waypost.api.control.v1 import condition_pb2 as pb
from waypost.errors import MeshError


@dataclass(frozen=True, slots=True)
class Failure:
    """reason: for programs, UPPER_SNAKE. message: one sentence. hint: what to do next; may be empty."""

    reason: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: MeshError) -> "Failure":
        return cls(error.reason, error.message, error.hint)


def condition(kind: str, failure: Failure | None) -> pb.Condition:
    """TRUE, or FALSE and why. Not dated yet."""
    if failure is None:
        return pb.Condition(type=kind, status=pb.CONDITION_STATUS_TRUE)
    return pb.Condition(
        type=kind,
        status=pb.CONDITION_STATUS_FALSE,
        reason=failure.reason,
        message=failure.message,
        hint=failure.hint,
    )
