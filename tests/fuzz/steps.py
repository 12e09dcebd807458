"""The words that scripts are written in: what a peer says, what an owner does."""

from tests.fuzz.script import HAS_SMALL_TABLE, IS_CLIENT, IS_GREETED, IS_TIGHT, Op
from waypost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SETTINGS,
    frame,
    window_update,
)
from waypost.wire.hpack import encode
from waypost.wire.settings import encode as encode_settings

POST = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"edge"))
OK = ((b":status", b"200"),)
END = ((b"grpc-status", b"0"),)

SERVER, CLIENT, TIGHT_SERVER, TIGHT_CLIENT = (
    bytes([who | IS_GREETED]) for who in (0, IS_CLIENT, IS_TIGHT, IS_TIGHT | IS_CLIENT)
)
SMALL_TABLE = bytes([HAS_SMALL_TABLE | IS_GREETED])


def hear(*frames: bytes, drip: bool = False) -> bytes:
    data = b"".join(frames)
    return bytes([Op.DRIP if drip else Op.HEAR]) + len(data).to_bytes(2, "big") + data


def op(code: Op, *arguments: bytes) -> bytes:
    return bytes([code]) + b"".join(arguments)


def size(number: int) -> bytes:
    return number.to_bytes(2, "big")


TAKE, SHUTDOWN, LOSE, FAIL = op(Op.TAKE), op(Op.SHUTDOWN), op(Op.LOSE), op(Op.FAIL)
FIRST, YES, NO = b"\0", b"\1", b"\0"
REQUEST = op(Op.REQUEST, size(5), YES)


def tick(seconds: int) -> bytes:
    return op(Op.TICK, bytes([seconds]))


def reply(length: int = 5, stream: bytes = FIRST) -> bytes:
    return op(Op.REPLY, stream, size(length))


def headers(stream_id: int = 1, pairs=POST, *, end: bool = True) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, encode(pairs))


def data(stream_id: int = 1, body: bytes = b"hello", *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, body)


def told(*entries: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, encode_settings(entries))


CALL = headers(end=False) + data(end=True)


def core_call(stream_id: int = 1, increment: int = 5) -> bytes:
    """As gRPC's C-core sends one: between its head and its message it opens the stream's window."""
    return headers(stream_id, end=False) + window_update(stream_id, increment) + data(stream_id, end=True)


OPEN = headers(end=False)
ANSWER = headers(1, OK, end=False) + data(1) + headers(1, END)
BLOCK = encode(POST)
INSERT = b"\x40\x03x-a\x011"  # into the dynamic table
