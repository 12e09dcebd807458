"""An HTTP/2 connection (RFC 9113) as a pure machine: bytes and the time in, events and bytes out.

    connection = ServerConnection(limits, now=now)
    for event in connection.receive(data, now):     # any cut of bytes
        ...                                         # connection.reply(event.stream, head, (message,), trailers)
    transport.writelines(connection.take())
    if connection.closed:
        transport.close()

`receive` never raises, whatever the bytes. What is wrong with a stream ends the stream, what is wrong with the
connection ends the connection, and the peer hears which rule it broke. The owner is told what it must act on; what it
need not know (settings, windows, pings) is answered here.

The machine is made of layers, each adding to the one below:

    outgoing    what the owner does: send, give windows back, end
    control     the frames that steer, answered without the owner; time
    framing     bytes into frames
    http2       header blocks and bodies, as any HTTP message has them: this module
    server, client    which streams may be opened, and what a header block says
"""

from collections.abc import Callable

from waypost.wire.blocks import Assembly, BlockReader, Oversized
from waypost.wire.control import protocol_error
from waypost.wire.events import Data, Trailers
from waypost.wire.faults import ErrorCode, Fault, Malformed, StreamFault
from waypost.wire.fields import Field
from waypost.wire.frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    PADDED,
    padding,
    unwrap,
)
from waypost.wire.framing import Framing
from waypost.wire.heads import Head
from waypost.wire.limits import Limits
from waypost.wire.streams import Body, Stream


class Connection(Framing):
    """What both roles share. Use `ServerConnection` or `ClientConnection`."""

    __slots__ = ("_blocks",)

    def __init__(self, limits: Limits, now: float, judge: Callable[[list[Field]], Head]) -> None:
        super().__init__(limits, now)
        self._blocks = BlockReader(limits, judge)

    def _on_settings_ack(self) -> None:
        self._blocks.allow(self.limits.header_table_bytes)
        super()._on_settings_ack()

    def _on_headers(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Section 6.2. The usual frame has no flag but END_HEADERS and perhaps END_STREAM."""
        if not stream_id:
            raise protocol_error("STREAM_ID_INVALID", "HEADERS on stream 0")
        plain = flags & ~(END_HEADERS | END_STREAM) == 0
        block = data[start:end] if plain else unwrap(flags, stream_id, data[start:end])
        ended = flags & END_STREAM != 0
        if flags & END_HEADERS:
            return self._on_block(stream_id, block, ended, data, end)
        self._assembly = Assembly(stream_id, ended, block, self.limits)
        self._expected = CONTINUATION
        return end

    def _on_continuation(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Section 6.10."""
        assembly = self._assembly
        if assembly is None or assembly.stream_id != stream_id:
            raise protocol_error("FRAME_UNEXPECTED", f"CONTINUATION on stream {stream_id}, which has none to continue")
        assembly.add(data[start:end])
        if not flags & END_HEADERS:
            return end
        self._assembly = self._expected = self._live.stalled_at = None
        return self._on_block(stream_id, assembly.join(), assembly.ended, data, end)

    def _on_block(self, stream_id: int, block: bytes, ended: bool, data: bytes, at: int) -> int:
        """Abstract, a role's. A whole header block. `data` from `at` on is what follows it.

        → offset behind what was used of that
        """
        raise NotImplementedError

    def _on_data(self, flags: int, stream_id: int, data: bytes, start: int, end: int) -> int:
        """Section 6.1. `data` may end before the frame does."""
        if not stream_id:
            raise protocol_error("STREAM_ID_INVALID", "DATA on stream 0")
        length = end - start
        padded = 0
        if flags & PADDED:
            padded = padding(data[start : start + 1], length)
            start += 1
        self._window -= length
        if self._window < 0:
            raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_EXCEEDED", "DATA beyond the connection's window")
        content = end - padded - start
        ended = flags & END_STREAM != 0
        stream = self._charge(stream_id, length, content, ended)
        piece = data[start : end - padded]
        if end > len(data):
            self._body = Body(stream, content - len(piece), end - len(data), ended)
        if stream is not None:
            self._deliver(stream, piece, ended and len(piece) == content)
        return min(end, len(data))

    def _on_trailers(self, stream: Stream, block: bytes, ended: bool) -> None:
        """Section 8.1: a second header block ends the peer's side."""
        if not stream.remote_open:
            self._blocks.skip(block)
            raise StreamFault(stream.id, ErrorCode.STREAM_CLOSED, "STREAM_CLOSED")
        tail = self._judged(stream.id, self._blocks.tail, block)
        if not ended:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "TRAILERS_WITHOUT_END")
        if stream.body_left > 0:
            raise StreamFault(stream.id, ErrorCode.PROTOCOL_ERROR, "CONTENT_LENGTH_WRONG")
        self._events.append(Trailers(stream, tail))
        self._end_remote(stream)

    def _judged(self, stream_id: int, read: Callable[[bytes], Head], block: bytes) -> Head:
        """A block that cannot be decoded ends the connection, one that says the wrong things its stream only."""
        try:
            return read(block)
        except Oversized as oversized:
            raise StreamFault(stream_id, ErrorCode.ENHANCE_YOUR_CALM, str(oversized)) from None
        except Malformed as malformed:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(malformed)) from None

    def _charge(self, stream_id: int, length: int, content: int, ended: bool) -> Stream | None:
        """Count a frame against its stream. → the stream, None if nobody is to get the frame"""
        stream = self._streams.get(stream_id)
        try:
            if stream is None:
                self._stray(stream_id, length, ended)
                self._give_back(length)
                return None
            stream.count(length, content, ended)
        except StreamFault as fault:
            self._refuse(fault)
            self._give_back(length)
            return None
        if not content and not ended:
            self._meters.empty_data.spend(self._now, self._progress)
        if length != content:
            self.acknowledge(stream, length - content)  # padding is read by reading it (section 6.9.1)
        return stream

    def _stray(self, stream_id: int, length: int, ended: bool) -> None:
        """DATA on a stream that is not open: fine if we reset it and the peer could not know."""
        stream = self._lingering.get(stream_id)
        if stream is None:
            self._check_not_idle("DATA", stream_id)
            raise Fault(ErrorCode.STREAM_CLOSED, "STREAM_CLOSED", f"DATA on stream {stream_id}, which is closed")
        stream.receive_window -= length
        if stream.receive_window < 0:
            raise Fault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_EXCEEDED", f"DATA beyond stream {stream_id}'s window")
        if ended:
            del self._lingering[stream_id]
        elif not length:
            self._meters.empty_data.spend(self._now, self._progress)

    def _deliver(self, stream: Stream, piece: bytes, ended: bool) -> None:
        if piece:
            self._received += 1
        if piece or ended:
            self._events.append(Data(stream, piece, ended))
        if ended:
            self._end_remote(stream)

    @property
    def due(self) -> tuple[Stream, int] | None:
        """The stream whose body goes on with the peer's next bytes, and with how many; None: they are something else.

        An owner that has room for them may read them there himself, and say so to `received`.
        """
        body = self._body
        if body is None or body.stream is None or not body.content_left or not body.stream.remote_open:
            return None
        return body.stream, body.content_left

    def received(self, size: int, now: float) -> bool:
        """As `receive`, for bytes that were `due` and that the owner has. → whether the stream's body ends with them"""
        body = self._body
        assert body is not None
        assert body.stream is not None
        self._now = self._live.heard_at = now
        self._received += 1
        body.content_left -= size
        body.frame_left -= size
        if not body.frame_left:
            self._body = None
        ended = body.ended and not body.content_left
        if ended:
            self._end_remote(body.stream)
        return ended

    def _continue_body(self, data: bytes, body: Body) -> int:
        piece = data[: body.content_left]
        used = min(len(data), body.frame_left)
        body.content_left -= len(piece)
        body.frame_left -= used
        if not body.frame_left:
            self._body = None
        if piece and body.stream is not None and body.stream.remote_open:
            self._deliver(body.stream, piece, body.ended and not body.content_left)
        return used
