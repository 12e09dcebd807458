"""Which failed calls may be repeated, and what a failure of the transport means for a person.

A Waypost server that answers UNAVAILABLE promises that nothing was executed. The transport makes no such promise: a
connection that breaks under a call is UNAVAILABLE too, and the model may have run. So errors fall into three kinds,
and only the text tells apart the transport's own two (grpc offers nothing better).

A host that has too much to do says when there will be room. Before that nobody asks it again.
"""

import random
from enum import Enum

from waypost.errors import (
    RETRY_AFTER,
    DeadlineExceeded,
    Internal,
    MeshError,
    NotFound,
    Unavailable,
    Unknown,
    Unsupported,
)

PAUSE_FIRST_S = 0.05  # a host that drains is out of the route within a few milliseconds
PAUSE_MAX_S = 1.0  # a gateway that crashed is back within about a second

_UNREACHABLE = ("failed to connect", "dns resolution failed", "connection refused", "no such file")
_NO_HOST = ("no healthy upstream", "connection failure", "connection timeout", "overflow")
_BROKEN = ("rst_stream", "stream removed", "connection reset", "socket closed")


class Fate(Enum):
    """What became of a call that failed."""

    NOT_EXECUTED = "safe to repeat"
    LOST = "may have been executed"
    REFUSED = "answered or out of time: not to be repeated"


def fate(error: MeshError) -> Fate:
    if isinstance(error, Unavailable):
        return Fate.NOT_EXECUTED if _said_by_waypost(error) or _says(error, _UNREACHABLE + _NO_HOST) else Fate.LOST
    if isinstance(error, Internal | Unknown) and not _said_by_waypost(error) and _says(error, _BROKEN):
        return Fate.LOST
    return Fate.REFUSED


def may_repeat(error: MeshError, *, idempotent: bool) -> bool:
    """Whether the call may be made again. idempotent: repeating it gives the same answer and changes nothing."""
    what = fate(error)
    return what is Fate.NOT_EXECUTED or (what is Fate.LOST and idempotent)


def pause_s(error: MeshError, attempt: int, rng: random.Random) -> float:
    """Seconds to wait after attempt number `attempt` (0 is the first) has failed with `error`.

    At least what the server asked for. Besides full jitter, so that callers spread.
    """
    return asked_s(error) + rng.uniform(0, min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** min(attempt, 10)))


def asked_s(error: MeshError) -> float:
    """What `google.rpc.RetryInfo` said; 0 where the server did not ask for any time."""
    said = error.metadata.get(RETRY_AFTER, "")
    return int(said) / 1e3 if said.isascii() and said.isdigit() else 0.0


def explain(error: MeshError, *, address: str, position: str, timeout_s: float) -> MeshError:
    """The error itself where Waypost said it, else one that names gateway and position and the next step."""
    if _said_by_waypost(error):
        return error
    if isinstance(error, DeadlineExceeded):
        return DeadlineExceeded(
            "DEADLINE_EXCEEDED",
            f"position {position} at {address} gave no answer within {_duration(timeout_s)}",
            "allow more time with timeout=, or see `waypost watch` for what keeps the position busy",
        )
    if isinstance(error, Unsupported | NotFound):
        return NotFound(
            "UNKNOWN_POSITION",
            f"the gateway at {address} has no position {position}",
            "see `waypost position list`; the gateway of another edge server may have it",
        )
    if isinstance(error, Unavailable) and _says(error, _UNREACHABLE):
        return Unavailable(
            "GATEWAY_UNREACHABLE",
            f"no gateway answers at {address}: {error.message}",
            "check the address; `waypost status` shows the endpoint of each position",
        )
    if isinstance(error, Unavailable) and _says(error, _NO_HOST):
        return Unavailable(
            "NO_HOST",
            f"position {position} has no inference host that answers",
            "see `waypost position get` for its state and the reason",
        )
    return error


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _said_by_waypost(error: MeshError) -> bool:
    """Errors without our details carry the bare name of their code as reason."""
    return error.reason != error.code.name


def _says(error: MeshError, texts: tuple[str, ...]) -> bool:
    message = error.message.lower()
    return any(text in message for text in texts)
