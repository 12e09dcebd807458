"""What goes wrong on a connection, and how far it reaches.

A `Fault` ends the connection (RFC 9113, section 5.4.1): it leaves as GOAWAY with its code, and its reason and message
as debug data. A `StreamFault` ends one stream (section 5.4.2): it leaves as RST_STREAM. Both are raised and caught
inside the machine; an owner sees a `Fault` in `Connection.fault` and a stream's code in the event `Reset`.

Reasons are UPPER_SNAKE and stable: servers count and log by them.
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 9113, section 7. A peer may send others; they stay plain integers."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Fault(Exception):
    """The connection cannot go on. code: for the peer; reason: for counters and logs; message: one sentence."""

    def __init__(self, code: ErrorCode, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


class StreamFault(Exception):
    """One stream cannot go on; the connection can."""

    def __init__(self, stream_id: int, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{reason} on stream {stream_id}")
        self.stream_id = stream_id
        self.code = code
        self.reason = reason


class Malformed(Exception):
    """A header list that makes no request, response or trailers (section 8.1.1): a StreamFault PROTOCOL_ERROR."""
