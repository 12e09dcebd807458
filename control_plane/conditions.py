"""Making conditions: one way to write them, so that `since` always means the same."""

from collections.abc import Iterable

from mesh.plain_text import plain
from mesh.times import timestamp
from waypost.api.control.v1.condition_pb2 import (
    CONDITION_STATUS_FALSE,
    CONDITION_STATUS_TRUE,
    CONDITION_STATUS_UNKNOWN,
    Condition,
)
from waypost.errors import MeshError

TEXT_CHARACTERS_MAX = 8192  # of a message: it is kept with the resource, and sent to whoever watches

_STATUS = {True: CONDITION_STATUS_TRUE, False: CONDITION_STATUS_FALSE, None: CONDITION_STATUS_UNKNOWN}


def condition(
    type_: str,
    holds: bool | None,
    before: Iterable[Condition] = (),
    *,
    now: float,
    reason: str = "",
    message: str = "",
    hint: str = "",
) -> Condition:
    """A condition as judged now; None: not known. before: the resource's conditions until now.

    `since` is when it was first judged so, whatever became of the reason in between.
    """
    status = _STATUS[holds]
    since = next((old.since for old in before if old.type == type_ and old.status == status), timestamp(now))
    return Condition(type=type_, status=status, reason=reason, message=message, hint=hint, since=since)


def failed(type_: str, error: MeshError, before: Iterable[Condition] = (), *, now: float) -> Condition:
    """False, for the reason that an error gives; its words may be a stranger's."""
    message, hint = plain(error.message, TEXT_CHARACTERS_MAX), plain(error.hint, TEXT_CHARACTERS_MAX)
    return condition(type_, False, before, now=now, reason=error.reason, message=message, hint=hint)
