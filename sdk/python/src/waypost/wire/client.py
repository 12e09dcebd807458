"""The client's role: we open streams, a header block is a response, interim ones included, or its trailers.

An owner asks for `capacity` before each request and opens another connection, or waits, when there is none. Metadata
that a client repeats goes through HPACK's dynamic table and is one byte per field from the second call on; what
differs each time, a deadline for instance, belongs into `extra`.
"""

from collections.abc import Iterable

from waypost.wire import heads
from waypost.wire.control import protocol_error
from waypost.wire.events import Headers, Response
from waypost.wire.faults import ErrorCode, Fault, StreamFault
from waypost.wire.fields import Pairs
from waypost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MIN,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    STREAM_ID_MAX,
    goaway,
    pack_header,
    split_header,
)
from waypost.wire.heads import Head
from waypost.wire.hpack import encode
from waypost.wire.http2 import Connection
from waypost.wire.limits import DEFAULT_LIMITS, Limits
from waypost.wire.streams import Chunk, Stream

_HEAD = (b":method", b"HEAD")
_SWITCHING_PROTOCOLS = 101  # section 8.6: HTTP/2 has no upgrade


class ClientConnection(Connection):
    """now: seconds, as for `receive`."""

    IS_CLIENT = True
    __slots__ = ("_next",)

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, now: float) -> None:
        super().__init__(limits, now, heads.response)
        self._next = 1
        self._greet(PREFACE, is_client=True)

    @property
    def capacity(self) -> int:
        """How many more requests may be sent now. 0 for good once `draining` or `closed`."""
        if self.draining or self.closed or self._next > STREAM_ID_MAX:
            return 0
        return max(0, self.peer_streams_max - len(self._streams))

    def request(
        self,
        pairs: tuple[tuple[bytes, bytes], ...],
        parts: Iterable[Chunk] = (),
        *,
        extra: Pairs = (),
        end: bool = True,
    ) -> Stream:
        """Open a stream. pairs: pseudo-header fields first, `:method` the very first; extra: fields that will not
        repeat. end: `parts` is the whole body. Raises ValueError if there is no `capacity`."""
        if not self.capacity:
            raise ValueError("this connection takes no further request now, see capacity")
        parts = tuple(parts)
        stream = Stream(self._next, self._peer_window, self._stream_window)
        stream.bodiless = pairs[0] == _HEAD
        self._streams[stream.id] = stream
        self._next += 2
        block = self._out.encoder.encode(pairs) + encode(extra)
        if end and parts:
            self._send_whole(stream, block, parts)
            return stream
        self._out.headers(stream.id, block, end)
        if end:
            self._end_local(stream)
        else:
            self._queue(stream, parts, None)
        return stream

    def shutdown(self, now: float) -> None:
        """Section 6.8. Nobody opens streams towards a client, so one GOAWAY is enough."""
        if not self.draining:
            self.draining = True
            self._out.put(goaway(0, ErrorCode.NO_ERROR))
            self._finish_if_done()

    def _send_whole(self, stream: Stream, block: bytes, parts: tuple[Chunk, ...]) -> None:
        out = self._out
        size = sum(map(len, parts))
        if (
            size > out.window
            or size > stream.send_window
            or size > FRAME_BYTES_MIN
            or len(block) > FRAME_BYTES_MIN
            or out.ready
            or out.encoder.update_due
        ):
            out.headers(stream.id, block, False)
            self._queue(stream, parts, b"")
            return
        out.window -= size
        head = pack_header(len(block) >> 8, len(block) & 0xFF, HEADERS, END_HEADERS, stream.id)
        data = pack_header(size >> 8, size & 0xFF, DATA, END_STREAM, stream.id)
        out.put(b"".join((head, block, data, *parts)))
        self._end_local(stream)

    def _last_peer_stream(self) -> int:
        return 0

    def _began(self) -> int:
        return self._next - 1

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next or not stream_id & 1

    def _on_block(self, stream_id: int, block: bytes, ended: bool, data: bytes, at: int) -> int:
        stream = self._streams.get(stream_id)
        if stream is None:
            self._on_stray_block(stream_id, block, ended)
            return at
        if stream.informed:
            self._on_trailers(stream, block, ended)
            return at
        head = self._blocks.heads.get(block) or self._judged(stream_id, self._blocks.head, block)
        if head.status < 200:
            if ended or head.status == _SWITCHING_PROTOCOLS:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "INTERIM_RESPONSE_INVALID")
            self._meters.other_frames.spend(self._now, self._progress)
            return at  # section 8.1: interim, the answer is still to come
        stream.informed = True
        stream.body_left = 0 if stream.bodiless else head.length
        if ended:
            self._answer_ended(stream, head)
            return at
        return self._answer(stream, head, data, at)

    def _answer_ended(self, stream: Stream, head: Head) -> None:
        if stream.body_left > 0:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "CONTENT_LENGTH_WRONG")
        self._events.append(Headers(stream, head, True))
        self._end_remote(stream)

    def _answer(self, stream: Stream, head: Head, data: bytes, at: int) -> int:
        """The whole answer, if DATA and trailers seen before follow at once; else its head."""
        body_end = self._whole_data(stream, head.length, data, at)
        tail, end = self._whole_tail(stream.id, data, body_end) if body_end else (None, 0)
        if tail is None:
            self._events.append(Headers(stream, head, False))
            return at
        body = data[at + HEADER_BYTES : body_end]
        self._window -= len(body)
        stream.unread = len(body)
        self._events.append(Response(stream, head, body, tail))
        self._end_remote(stream)
        return end

    def _whole_data(self, stream: Stream, length: int, data: bytes, at: int) -> int:
        """Look ahead: does a DATA frame without flags come next, as a whole and allowed? → its end, or 0

        length: what content-length says, or −1. Whatever is unusual is left to the usual way.
        """
        if len(data) - at < HEADER_BYTES:
            return 0
        high, low, kind, flags, stream_id = split_header(data, at)
        size = high << 8 | low
        end = at + HEADER_BYTES + size
        if (
            flags
            or kind != DATA
            or stream_id != stream.id
            or end > len(data)
            or not 0 < size <= FRAME_BYTES_MIN
            or size > self._window
            or size > stream.receive_window
            or length not in (-1, size)
        ):
            return 0
        return end

    def _whole_tail(self, stream_id: int, data: bytes, at: int) -> tuple[Head | None, int]:
        """Trailers in one frame whose block is known: a block must be decoded once only, so no other will do here."""
        if len(data) - at < HEADER_BYTES:
            return None, 0
        high, low, kind, flags, its_stream = split_header(data, at)
        end = at + HEADER_BYTES + (high << 8 | low)
        if kind != HEADERS or flags != END_HEADERS | END_STREAM or its_stream != stream_id or end > len(data):
            return None, 0
        return self._blocks.tails.get(data[at + HEADER_BYTES : end]), end

    def _on_stray_block(self, stream_id: int, block: bytes, ended: bool) -> None:
        """An answer to a call we reset may be on its way: a head and trailers. More than that is counted."""
        stream = self._lingering.get(stream_id)
        if stream is not None:
            self._blocks.skip(block)
            if ended:
                del self._lingering[stream_id]
            elif stream.informed:
                self._meters.other_frames.spend(self._now, self._progress)
            stream.informed = True
        elif self._is_idle(stream_id):
            raise protocol_error("STREAM_IDLE", f"HEADERS on stream {stream_id}, which is idle")
        else:
            raise Fault(ErrorCode.STREAM_CLOSED, "STREAM_CLOSED", f"HEADERS on stream {stream_id}, which is closed")
