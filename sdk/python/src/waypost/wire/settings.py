"""SETTINGS: what each end asks of the other (RFC 9113, section 6.5)."""

from collections.abc import Iterable
from struct import Struct

from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.frames import FRAME_BYTES_MAX, FRAME_BYTES_MIN, WINDOW_MAX
from waypost.wire.limits import Limits

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441

_entry = Struct(">HI")

_ALLOWED = {
    ENABLE_PUSH: (0, 1, ErrorCode.PROTOCOL_ERROR),
    INITIAL_WINDOW_SIZE: (0, WINDOW_MAX, ErrorCode.FLOW_CONTROL_ERROR),
    MAX_FRAME_SIZE: (FRAME_BYTES_MIN, FRAME_BYTES_MAX, ErrorCode.PROTOCOL_ERROR),
    ENABLE_CONNECT_PROTOCOL: (0, 1, ErrorCode.PROTOCOL_ERROR),
}


def decode(payload: bytes, entries_max: int) -> list[tuple[int, int]]:
    """(identifier, value) in the order sent, each value within its bounds. Raises Fault."""
    if len(payload) % _entry.size:
        raise Fault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS_INVALID", f"SETTINGS of {len(payload)} bytes")
    if len(payload) > entries_max * _entry.size:
        raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "SETTINGS_TOO_LARGE", f"more than {entries_max} settings in one frame")
    entries = list(_entry.iter_unpack(payload))
    for identifier, value in entries:
        low, high, code = _ALLOWED.get(identifier, (0, value, ErrorCode.PROTOCOL_ERROR))
        if not low <= value <= high:
            raise Fault(code, "SETTINGS_INVALID", f"setting {identifier} is {value}, allowed is {low} to {high}")
    return entries


def encode(entries: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(_entry.pack(identifier, value) for identifier, value in entries)


def ours(limits: Limits, *, is_client: bool) -> list[tuple[int, int]]:
    """What we ask of the peer. Only clients open streams, and nobody may push (section 8.4)."""
    role = (ENABLE_PUSH, 0) if is_client else (MAX_CONCURRENT_STREAMS, limits.concurrent_streams)
    return [
        role,
        (HEADER_TABLE_SIZE, limits.header_table_bytes),
        (INITIAL_WINDOW_SIZE, limits.stream_window_bytes),
        (MAX_FRAME_SIZE, limits.frame_bytes),
        (MAX_HEADER_LIST_SIZE, limits.header_list_bytes),
    ]
