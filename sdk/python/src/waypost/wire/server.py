"""The server's role: streams are opened by the peer, a header block is a request or its trailers.

The warm path is `_begin` and `reply`. A call whose HEADERS and DATA came whole is one `Request`: one look for the
block, one `Stream`, one slice. Its answer, if the windows are wide enough, is one bytes object made of two constant
blocks and the message.
"""

from collections import deque
from collections.abc import Sequence
from math import inf

from waypost.wire import heads
from waypost.wire.control import DRAIN_PAYLOAD, protocol_error
from waypost.wire.events import Headers, Request
from waypost.wire.faults import ErrorCode, Fault, StreamFault
from waypost.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MIN,
    HEADER_BYTES,
    HEADERS,
    PREFACE,
    STREAM_ID_MAX,
    WINDOW_MAX,
    WINDOW_UPDATE,
    WINDOW_UPDATE_BYTES,
    Block,
    Fields,
    encoded,
    frame,
    goaway,
    pack_header,
    pack_id,
    split_header,
    split_window_update,
)
from waypost.wire.heads import Head
from waypost.wire.http2 import Connection
from waypost.wire.limits import DEFAULT_LIMITS, Limits
from waypost.wire.streams import Chunk, Stream

SKIPS_REMEMBERED = 16  # only the error code for a stream that was never opened depends on them

_WINDOW_UPDATE = frame(WINDOW_UPDATE, 0, 0, bytes(4))[:5]
"""How one begins, up to the stream id."""


class ServerConnection(Connection):
    """now: seconds, as for `receive`."""

    IS_CLIENT = False
    __slots__ = ("_drain_at", "_heads", "_highest", "_skipped", "_streams_max")

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, now: float) -> None:
        super().__init__(limits, now, heads.request)
        self._heads = self._blocks.heads
        self._highest = -1
        """The last stream the peer opened."""
        self._streams_max = limits.concurrent_streams
        self._skipped: deque[tuple[int, int]] = deque(maxlen=SKIPS_REMEMBERED)
        """Ranges of stream ids that were passed over, and so are closed without having been open (5.1.1)."""
        self._drain_at = inf
        self._preface = PREFACE
        self._greet(b"", is_client=False)

    def reply(self, stream: Stream, head: Block, parts: Sequence[Chunk], trailers: Fields) -> None:
        """A whole answer. parts: the body; no copy of it is made if it is large or must wait."""
        size = sum(map(len, parts))
        tail = trailers if type(trailers) is bytes else encoded(trailers)
        tail_size = len(tail)
        out = self._out
        if (
            size > out.window
            or size > stream.send_window
            or size > FRAME_BYTES_MIN
            or tail_size > FRAME_BYTES_MIN
            or stream.unsent
            or out.ready
            or out.encoder.update_due
            or not stream.local_open
        ):
            self.send_headers(stream, head)
            self.send_data(stream, parts)
            self.send_trailers(stream, tail)
            return
        out.window -= size
        stream_id = stream.id
        data = pack_header(size >> 8, size & 0xFF, DATA, 0, stream_id)
        end = pack_header(tail_size >> 8, tail_size & 0xFF, HEADERS, END_HEADERS | END_STREAM, stream_id)
        out.put(b"".join((head.opening, pack_id(stream_id), head.data, data, *parts, end, tail)))
        self._end_local(stream)

    def shutdown(self, now: float) -> None:
        """Section 6.8, in two steps: a GOAWAY that still takes every stream, and when the peer has seen it, or after
        `Limits.drain_s`, one that names the last stream taken. So no call in flight is lost."""
        if self._drain_at == inf and self._streams_max and not self.closed:
            self._out.put(goaway(STREAM_ID_MAX, ErrorCode.NO_ERROR))
            self.ping(DRAIN_PAYLOAD)
            self._drain_at = now + self.limits.drain_s

    def _drain_due(self, now: float) -> float:
        if now >= self._drain_at:
            self._drain()
        return self._drain_at

    def _drain(self) -> None:
        if self._drain_at < inf:
            self._drain_at = inf
            self._streams_max = 0
            self.draining = True
            self._out.put(goaway(self._last_peer_stream(), ErrorCode.NO_ERROR))
            self._finish_if_done()

    def _last_peer_stream(self) -> int:
        return max(self._highest, 0)

    def _began(self) -> int:
        return self._highest + 1

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > self._highest or not stream_id & 1

    def _end_local(self, stream: Stream) -> None:
        """An answer before the request's end: no more of that is needed (section 8.1)."""
        stream.local_open = False
        self._completed += 1
        if stream.remote_open:
            self._abort(stream, ErrorCode.NO_ERROR)
        else:
            self._forget(stream)

    def _on_headers(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        if flags == END_HEADERS and stream_id == self._highest + 2 and len(self._streams) < self._streams_max:
            head = self._heads.get(data[start:end])
            if head is not None:  # a call like one before
                self._highest = stream_id
                return self._begin(stream_id, head, data, end)
        return super()._on_headers(flags, stream_id, data, start, end)

    def _on_block(self, stream_id: int, block: bytes, ended: bool, data: bytes, at: int) -> int:
        if stream_id <= self._highest or not stream_id & 1:
            self._on_later_block(stream_id, block, ended)
            return at
        if stream_id != self._highest + 2:
            self._skipped.append((self._highest, stream_id))
        self._highest = stream_id
        head = self._judged(stream_id, self._blocks.head, block)
        if len(self._streams) >= self._streams_max:
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "TOO_MANY_STREAMS")
        if not ended:
            return self._begin(stream_id, head, data, at)
        stream = self._open(stream_id, head)
        if head.length > 0:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "CONTENT_LENGTH_WRONG")
        self._events.append(Headers(stream, head, True))
        self._end_remote(stream)
        return at

    def _open(self, stream_id: int, head: Head) -> Stream:
        stream = self._streams[stream_id] = Stream(stream_id, self._peer_window, self._stream_window)
        stream.informed = True
        stream.body_left = head.length
        return stream

    def _begin(self, stream_id: int, head: Head, data: bytes, at: int) -> int:
        """A call whose DATA follows at once, as a whole and allowed, is one event; whatever is unusual takes several.

        C-core's calls have a WINDOW_UPDATE in between.
        """
        increment = self._early_update(stream_id, data, at) if data.startswith(_WINDOW_UPDATE, at) else 0
        start = at + HEADER_BYTES + WINDOW_UPDATE_BYTES if increment else at + HEADER_BYTES
        if start > len(data):
            return self._begin_slowly(stream_id, head, at)
        high, low, kind, flags, its_stream = split_header(data, start - HEADER_BYTES)
        size = high << 8 | low
        end = start + size
        if (
            kind != DATA
            or flags != END_STREAM
            or its_stream != stream_id
            or end > len(data)
            or not 0 < size <= FRAME_BYTES_MIN
            or size > self._window
            or size > self._stream_window
            or head.length not in (-1, size)
        ):
            return self._begin_slowly(stream_id, head, at)
        stream = self._streams[stream_id] = Stream(stream_id, self._peer_window, self._stream_window)
        if increment:
            self._count_update(increment)
            stream.send_window += increment
        self._window -= size
        stream.unread = size
        stream.remote_open = False
        self._events.append(Request(stream, head, data[start:end]))
        return end

    def _begin_slowly(self, stream_id: int, head: Head, at: int) -> int:
        self._events.append(Headers(self._open(stream_id, head), head, False))
        return at

    def _early_update(self, stream_id: int, data: bytes, at: int) -> int:
        """Look ahead: does an allowed WINDOW_UPDATE for this stream come next? → its increment, or 0"""
        if len(data) - at < WINDOW_UPDATE_BYTES:
            return 0
        *_, its_stream, increment = split_window_update(data, at)
        if (
            its_stream != stream_id
            or increment > WINDOW_MAX - self._peer_window
            or (increment < self.limits.small_window_update_bytes and self._meters.small_window_updates.tokens < 1)
        ):
            return 0
        return increment

    def _on_later_block(self, stream_id: int, block: bytes, ended: bool) -> None:
        """Trailers, or a block where none may be."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._on_trailers(stream, block, ended)
        elif self._lingering.pop(stream_id, None):
            self._blocks.skip(block)  # trailers: the last that the peer may send there
        elif not stream_id & 1 or any(low < stream_id < high for low, high in self._skipped):
            raise protocol_error("STREAM_ID_INVALID", f"HEADERS on stream {stream_id}, which cannot be opened")
        else:
            raise Fault(ErrorCode.STREAM_CLOSED, "STREAM_CLOSED", f"HEADERS on stream {stream_id}, which is closed")
