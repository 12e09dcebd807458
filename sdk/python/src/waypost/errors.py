"""Every error that Waypost tells a person or a program, one class per thing that can be done about it.

    MeshError
    ├── Invalid            the request is wrong, whatever the state: mend it
    ├── Unauthenticated    no credential, or one that is no longer good: get one
    ├── Denied             a good credential that may not do this
    ├── NotFound           no such thing
    ├── AlreadyExists      there is one already
    ├── Conflict           somebody else wrote in between: read again, then retry
    ├── Precondition       not in this state: change the state first
    ├── Exhausted          a limit or a quota is reached
    ├── Unavailable        nothing was executed: safe to retry
    ├── DeadlineExceeded   too late
    ├── DataLoss           bytes are not what their digest says
    ├── OutOfRange         beyond an end
    ├── Cancelled          the caller went away
    ├── Unsupported        this server cannot do that
    ├── Internal           a fault of ours
    └── Unknown            an error that did not come from Waypost

`waypost.rpc.status` turns them into `google.rpc.Status` and back into the same class, so that an exception raised in
a server arrives in the client as what it was. Exceptions of grpc never leave the SDK.
"""

from typing import ClassVar

from waypost.codes import Status

RETRY_AFTER = "retry_after_ms"
"""In the metadata of an error after which it is known when to come back: whole milliseconds."""


class MeshError(Exception):
    """What failed, with what, and what to do next.

    reason: UPPER_SNAKE, stable, for programs. message: one sentence for people. hint: the next step, may be empty.
    metadata: short strings that name the things involved; never secrets. code: gRPC's name and number of its kind.
    """

    code: ClassVar[Status] = Status.UNKNOWN

    def __init__(self, reason: str, message: str, hint: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.reason, self.message, self.hint, self.metadata))


def _rebuild(kind: type[MeshError], reason: str, message: str, hint: str, metadata: dict[str, str]) -> MeshError:
    """Pickling by position would lose the keywords."""
    return kind(reason, message, hint, **metadata)


class Invalid(MeshError):
    code = Status.INVALID_ARGUMENT


class Unauthenticated(MeshError):
    code = Status.UNAUTHENTICATED


class Denied(MeshError):
    code = Status.PERMISSION_DENIED


class NotFound(MeshError):
    code = Status.NOT_FOUND


class AlreadyExists(MeshError):
    code = Status.ALREADY_EXISTS


class Conflict(MeshError):
    code = Status.ABORTED


class Precondition(MeshError):
    code = Status.FAILED_PRECONDITION


class Exhausted(MeshError):
    code = Status.RESOURCE_EXHAUSTED


class Unavailable(MeshError):
    code = Status.UNAVAILABLE


class DeadlineExceeded(MeshError):
    code = Status.DEADLINE_EXCEEDED


class DataLoss(MeshError):
    code = Status.DATA_LOSS


class OutOfRange(MeshError):
    code = Status.OUT_OF_RANGE


class Cancelled(MeshError):
    code = Status.CANCELLED


class Unsupported(MeshError):
    code = Status.UNIMPLEMENTED


class Internal(MeshError):
    code = Status.INTERNAL


class Unknown(MeshError):
    code = Status.UNKNOWN


BY_CODE: dict[int, type[MeshError]] = {
    kind.code: kind
    for kind in (
        Invalid, Unauthenticated, Denied, NotFound, AlreadyExists, Conflict, Precondition, Exhausted, Unavailable,
        DeadlineExceeded, DataLoss, OutOfRange, Cancelled, Unsupported, Internal, Unknown,
    )
}  # fmt: skip
