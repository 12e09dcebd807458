"""What both gRPC faces put around an answer, and the HTTP face with them: who answered, and where the time went.

`server-timing` is W3C's header (Server Timing, section 3): durations in milliseconds, which browsers and proxies show.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from inference_host.transport.methods import Reply
from inference_host.values.calls import Answer, Timing, as_mesh_error
from waypost.errors import MeshError

_FORM = "queue;dur=%.3f, batch;dur=%.3f, compute;dur=%.3f, total;dur=%.3f"

Encode: TypeAlias = Callable[[Answer], Sequence[bytes | memoryview]]


def server_timing(timing: Timing) -> str:
    """The header's value."""
    queue_s, batch_s, compute_s, total_s = timing
    return _FORM % (queue_s * 1e3, batch_s * 1e3, compute_s * 1e3, total_s * 1e3)


def tell(reply: Reply, encode: Encode, outcome: Answer | MeshError) -> None:
    """How a call ended, to the one who waits for it."""
    if isinstance(outcome, MeshError):
        reply.fail(outcome)
        return
    try:
        message = encode(outcome)
    except Exception as error:  # the life of a call ends here
        reply.fail(as_mesh_error(error))
    else:
        reply.send(message, outcome.origin.facts, server_timing(outcome.timing))
