"""Bytes into frames: what a read brought, what an earlier one left over, and which frame may come at all.

HEADERS and DATA are handed on with the bytes behind them, since a role may use more than the frame it is called for.
DATA is handed on as it comes; every other frame is small and waits until it is whole.
"""

from collections.abc import Sequence

from waypost.wire.blocks import Assembly, check_block_size
from waypost.wire.control import Control, protocol_error
from waypost.wire.events import Event
from waypost.wire.faults import ErrorCode, Fault, StreamFault
from waypost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    FRAME_BYTES_MIN,
    HEADER_BYTES,
    HEADERS,
    SETTINGS,
    STREAM_ID_MAX,
    WINDOW_UPDATE,
    split_header,
)
from waypost.wire.limits import Limits
from waypost.wire.streams import Body


class Framing(Control):
    """Adds `receive`. The functions that are called for HEADERS, CONTINUATION and DATA return the offset behind what
    they used."""

    __slots__ = ("_assembly", "_body", "_expected", "_missing", "_parts", "_preface")

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits, now)
        self._preface = b""
        """What the peer must still send before its first frame."""
        self._expected: int | None = SETTINGS
        """The only type of frame that may come next (sections 3.4 and 6.10)."""
        self._parts: list[bytes] = []
        self._missing = 0
        """A frame that is cut, and how many bytes are needed before looking at it again."""
        self._body: Body | None = None
        """A DATA frame that is cut."""
        self._assembly: Assembly | None = None
        """A header block that waits for CONTINUATION."""

    def receive(self, data: bytes, now: float) -> Sequence[Event]:
        """What the peer said. now: in seconds, of any clock that never goes back."""
        if self.closed:
            return ()
        self._now = now
        live = self._live
        live.heard_at = now
        events = self._events = []
        try:
            self._walk(self._join(data) if self._parts else data)
            self._check_unread()
        except Fault as fault:
            self._fail(fault)
        if live.stalled_at is None and (self._parts or self._assembly):
            live.stalled_at = now
        return events

    def _walk(self, data: bytes) -> None:
        at = self._continue(data) if self._preface or self._body else 0
        size = len(data)
        while size - at >= HEADER_BYTES and not self.closed:
            high, low, kind, flags, stream_id = split_header(data, at)
            length = high << 8 | low
            start = at + HEADER_BYTES
            end = start + length
            stream_id &= STREAM_ID_MAX
            if end > size or length > FRAME_BYTES_MIN or self._expected is not None:
                self._admit(kind, length)
                if end > size and (kind != DATA or size == start):
                    break
            at = end
            try:
                if kind == HEADERS:
                    at = self._on_headers(flags, stream_id, data, start, end)
                elif kind == DATA:
                    at = self._on_data(flags, stream_id, data, start, end)
                elif kind == WINDOW_UPDATE:
                    self._on_window_update(stream_id, data[start:end])
                elif kind == CONTINUATION:
                    at = self._on_continuation(flags, stream_id, data, start, end)
                else:
                    self._on_control(kind, flags, stream_id, data[start:end])
                    if self._expected is not None:
                        self._first_settings(flags)
            except StreamFault as fault:
                self._refuse(fault)
        if at < size:
            self._keep(data[at:] if at else data)

    def _continue(self, data: bytes) -> int:
        """What is no frame: the preface, or more of a DATA frame. → offset of the first frame"""
        if self._body is not None:
            return self._continue_body(data, self._body)
        expected = self._preface
        if not data.startswith(expected[: len(data)]):
            raise protocol_error("PREFACE_INVALID", "this is not HTTP/2")
        self._preface = expected[len(data) :]
        return min(len(data), len(expected))

    def _admit(self, kind: int, length: int) -> None:
        """Whether the frame may come at all, before waiting for the rest of it."""
        if self._expected not in (None, kind):
            raise protocol_error("FRAME_UNEXPECTED", f"a frame of type {kind} where only {self._expected} may be")
        if length > self.limits.frame_bytes:
            message = f"a frame of {length} bytes, allowed are {self.limits.frame_bytes}"
            raise Fault(ErrorCode.FRAME_SIZE_ERROR, "FRAME_SIZE_INVALID", message)
        if kind in (HEADERS, CONTINUATION):
            check_block_size(length, self.limits)
        elif kind != DATA and length > self.limits.header_block_bytes:
            message = f"a frame of type {kind} with {length} bytes"
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "FRAME_TOO_LARGE", message)

    def _keep(self, rest: bytes) -> None:
        """A frame is cut: remember it, and how much must come before it is worth looking again."""
        needed = HEADER_BYTES
        if len(rest) >= HEADER_BYTES:
            high, low, kind, _, _ = split_header(rest)
            needed += 1 if kind == DATA else high << 8 | low
        self._parts = [rest]
        self._missing = needed - len(rest)

    def _join(self, data: bytes) -> bytes:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return b""
        parts, self._parts = self._parts, []
        if self._assembly is None:
            self._live.stalled_at = None
        return b"".join(parts)

    def _first_settings(self, flags: int) -> None:
        if flags & ACK:
            raise protocol_error("FRAME_UNEXPECTED", "an acknowledgement where the first SETTINGS must be")
        self._expected = None

    def _on_headers(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Abstract: `http2` gives it, as it does the three below."""
        raise NotImplementedError

    def _on_continuation(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Abstract."""
        raise NotImplementedError

    def _on_data(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Abstract. `data` may end before the frame does."""
        raise NotImplementedError

    def _continue_body(self, data: bytes, body: Body) -> int:
        """Abstract. More of a DATA frame that was cut."""
        raise NotImplementedError
