"""gRPC calls on an HTTP/2 connection (PROTOCOL-HTTP2): what heads and trailers a call has, and what they mean.

A server's answer to a unary call is two blocks that were encoded at import, `ANSWER` and `OK`, and the message between
them. A client builds its head once per method with `request_head` and reads how a call ended from whichever head came
last, with `outcome`.
"""

from waypost.wire.frames import Block
from waypost.wire.heads import Head
from waypost.wire.messages import ENCODINGS, IDENTITY
from waypost.wire.metadata import unquote_message
from waypost.wire.status import Status, status_of_http

CONTENT_TYPE = b"application/grpc"
ACCEPT_ENCODING = b",".join(ENCODINGS)

TRAILERS_BYTES_MAX = 7 << 10  # gRPC clients refuse more than 8 KiB of metadata unless told otherwise

ANSWER = Block([(b":status", b"200"), (b"content-type", CONTENT_TYPE)])
"""The head of every answer that has messages."""

OK = Block([(b"grpc-status", b"0")])
"""The trailers of a call that went well."""

NOT_GRPC = Block([(b":status", b"415")])
NOT_POST = Block([(b":status", b"405"), (b"allow", b"POST")])


def refusal(head: Head) -> Block | None:
    """Whether a request is a gRPC call at all; else the whole answer to it, for `send_headers(..., end=True)`."""
    kind = head.get(b"content-type") or b""
    if kind != CONTENT_TYPE and not kind.startswith((CONTENT_TYPE + b"+", CONTENT_TYPE + b";")):
        return NOT_GRPC
    return None if head.method == b"POST" else NOT_POST


def encoding_of(head: Head) -> bytes:
    """How its messages may be compressed; for `unpack`."""
    return head.get(b"grpc-encoding") or IDENTITY


def request_head(
    path: str, authority: str, metadata: tuple[tuple[bytes, bytes], ...] = (), *, scheme: str = "http"
) -> tuple[tuple[bytes, bytes], ...]:
    """What every call of a method begins with, for `ClientConnection.request`.

    path: "/package.Service/Method". metadata: encoded, the same for every call; what differs, the deadline above all,
    goes into `extra` there.
    """
    return (
        (b":method", b"POST"),
        (b":scheme", scheme.encode()),
        (b":path", path.encode()),
        (b":authority", authority.encode()),
        (b"te", b"trailers"),
        (b"content-type", CONTENT_TYPE),
        (b"grpc-accept-encoding", ACCEPT_ENCODING),
        *metadata,
    )


def outcome(head: Head) -> tuple[Status, str]:
    """How a call ended, from its trailers, or from the head of an answer that has nothing else.

    An answer without grpc-status did not come from a gRPC server: then its HTTP status must do.
    """
    value = head.get(b"grpc-status")
    if value == b"0":
        return Status.OK, ""
    if value is None:
        if head.status in (0, 200):
            return Status.UNKNOWN, "the answer has no grpc-status"
        return status_of_http(head.status), f"HTTP status {head.status}"
    message = unquote_message(head.get(b"grpc-message") or b"")
    try:
        return Status(int(value)), message
    except ValueError:
        return Status.UNKNOWN, message or f"grpc-status is {value[:16]!r}"
