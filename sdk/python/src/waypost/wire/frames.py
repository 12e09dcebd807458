"""Frames: their types, flags, and bytes (RFC 9113, sections 4.1 and 6).

`Block` is a header block ready to be framed. It needs no dynamic table, so one made at import is good on every
connection: a server's usual answer is three such constants around a message.
"""

from collections.abc import Callable
from struct import Struct

from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.fields import Pairs
from waypost.wire.hpack import encode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # section 3.4

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

FRAME_BYTES_MIN = 1 << 14  # every peer takes frames of this size (section 4.2)
FRAME_BYTES_MAX = (1 << 24) - 1
WINDOW_DEFAULT = (1 << 16) - 1  # section 6.9.2
WINDOW_MAX = (1 << 31) - 1
STREAM_ID_MAX = (1 << 31) - 1
PRIORITY_BYTES = 5  # section 6.3

_header = Struct(">HBBBI")
HEADER_BYTES = _header.size
split_header: Callable[..., tuple[int, int, int, int, int]] = _header.unpack_from
"""→ (length >> 8, length & 255, type, flags, stream id with the reserved bit): a 24-bit number has no struct code."""

WINDOW_UPDATE_BYTES = HEADER_BYTES + 4  # a whole frame (section 6.9)
split_window_update: Callable[..., tuple[int, int, int, int, int, int]] = Struct(_header.format + "I").unpack_from
"""The same, and the increment."""

pack_header = _header.pack
pack_id = Struct(">I").pack
_pack_goaway = Struct(">II").pack


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return pack_header(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, pack_id(increment))


def rst_stream(stream_id: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, pack_id(code))


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, _pack_goaway(last_stream_id, code) + debug)


def header_frames(stream_id: int, block: bytes, ended: bool, frame_bytes_max: int) -> bytes:
    """HEADERS, and as many CONTINUATION as the block needs (section 6.10)."""
    flags = END_STREAM if ended else 0
    if len(block) <= frame_bytes_max:
        return frame(HEADERS, flags | END_HEADERS, stream_id, block)
    parts = [frame(HEADERS, flags, stream_id, block[:frame_bytes_max])]
    for start in range(frame_bytes_max, len(block), frame_bytes_max):
        last = start + frame_bytes_max >= len(block)
        parts.append(frame(CONTINUATION, END_HEADERS if last else 0, stream_id, block[start : start + frame_bytes_max]))
    return b"".join(parts)


def padding(first: bytes, length: int) -> int:
    """Section 6.1: how much padding the first byte of a padded payload announces; it must fit behind that byte."""
    if not first or first[0] >= length:
        message = f"the padding does not fit into the frame of {length} bytes"
        raise Fault(ErrorCode.PROTOCOL_ERROR, "PADDING_INVALID", message)
    return first[0]


def unwrap(flags: int, stream_id: int, payload: bytes) -> bytes:
    """The header block in a HEADERS frame's payload, without padding and priority (section 6.2)."""
    start, end = 0, len(payload)
    if flags & PADDED:
        end -= padding(payload[:1], end)
        start = 1
    if flags & HAS_PRIORITY:
        if end - start < PRIORITY_BYTES:
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "FRAME_SIZE_INVALID", "HEADERS too short for its priority")
        check_dependency(stream_id, payload[start:])
        start += PRIORITY_BYTES
    return payload[start:end]


def check_dependency(stream_id: int, priority: bytes) -> None:
    """RFC 7540, section 5.3.1."""
    if int.from_bytes(priority[:4], "big") & STREAM_ID_MAX == stream_id:
        raise Fault(ErrorCode.PROTOCOL_ERROR, "PRIORITY_INVALID", f"stream {stream_id} depends on itself")


_BLOCK_OPENS = bytes((HEADERS, END_HEADERS))


class Block:
    """A header list, encoded for any connection and any stream.

    opening: its frame's header up to the stream id. Raises ValueError above 16 KiB, which is what fits into a frame
    that every peer takes.
    """

    __slots__ = ("data", "opening")

    def __init__(self, pairs: Pairs) -> None:
        self.data = encode(pairs)
        if len(self.data) > FRAME_BYTES_MIN:
            raise ValueError(f"a header block of {len(self.data)} bytes does not fit into a frame of {FRAME_BYTES_MIN}")
        self.opening = len(self.data).to_bytes(3, "big") + _BLOCK_OPENS


Fields = Pairs | Block | bytes
"""A header list to be sent: as it is, as a constant, or put together from pieces that `hpack.encode` has encoded."""


def encoded(fields: Fields) -> bytes:
    if isinstance(fields, bytes):
        return fields
    return fields.data if isinstance(fields, Block) else encode(fields)
