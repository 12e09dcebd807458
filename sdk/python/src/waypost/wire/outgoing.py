"""The half of a connection that its owner drives: sending, giving windows back, ending.

Nothing here waits or raises for what a peer did. A stream may be reset while its owner is still computing, so sending
on a stream that is over does nothing. A peer that never reads ends the connection instead: look at `closed` after
every call that sends or receives.
"""

from collections.abc import Iterable

from waypost.wire import settings
from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.fields import Pairs
from waypost.wire.frames import (
    PING,
    SETTINGS,
    WINDOW_DEFAULT,
    Block,
    frame,
    goaway,
    rst_stream,
    window_update,
)
from waypost.wire.hpack import encode
from waypost.wire.limits import Limits
from waypost.wire.outbox import Outbox
from waypost.wire.streams import Chunk, Stream

STREAMS_UNTIL_TOLD = 100  # the RFC sets no limit before the first SETTINGS; it advises none below 100 (6.5.2)
DEBUG_BYTES_MAX = 256  # of a GOAWAY's debug data: a reason and a sentence


class Outgoing:
    """State that both halves share, and the owner's calls. `Connection` adds `receive`.

    closed: write what `take` has, then close the socket. fault: why, None if both sides had finished.
    """

    __slots__ = (
        "_completed",
        "_enough",
        "_lingering",
        "_out",
        "_owed",
        "_peer_window",
        "_received",
        "_stream_enough",
        "_streams",
        "_window",
        "closed",
        "draining",
        "fault",
        "limits",
        "peer_streams_max",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.peer_streams_max = STREAMS_UNTIL_TOLD
        """Streams that the peer lets us have open at once."""
        self._peer_window = WINDOW_DEFAULT
        """Bytes that the peer takes on a new stream."""
        self.closed = False
        self.fault: Fault | None = None
        self.draining = False
        """Either side has said its last GOAWAY: the connection is over when its streams are."""
        self._out = Outbox()
        self._streams: dict[int, Stream] = {}
        self._lingering: dict[int, Stream] = {}
        """Reset by us; the peer may not know yet (section 5.1, "closed")."""
        self._window = limits.connection_window_bytes
        """Bytes of DATA that the peer may send."""
        self._owed = 0
        """Bytes read that were not given back to that window yet."""
        self._enough = limits.connection_window_bytes // 2
        self._stream_enough = max(1, limits.stream_window_bytes // 2)
        """A WINDOW_UPDATE for each read would cost both sides more than a half-open window does."""
        self._completed = 0
        """Streams that ended in the regular way."""
        self._received = 0
        """DATA frames that carried something."""

    def _greet(self, preface: bytes, *, is_client: bool) -> None:
        hello = preface + frame(SETTINGS, 0, 0, settings.encode(settings.ours(self.limits, is_client=is_client)))
        if self._window > WINDOW_DEFAULT:
            hello += window_update(0, self._window - WINDOW_DEFAULT)
        self._out.put(hello)

    @property
    def _progress(self) -> int:
        return self._completed + self._received + self._out.progress

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    @property
    def unsent_bytes(self) -> int:
        """What waits for windows and for `take`."""
        return self._out.unsent + self._out.pending

    @property
    def wants_write(self) -> bool:
        """`take` would return something."""
        return bool(self._out.frames or (self._out.ready and self._out.window > 0))

    def take(self) -> list[Chunk]:
        """What to write now, in order; all replies of one read leave in one write.

        Call it after each `receive` and whenever something was sent, but not while the transport is full: what is not
        taken counts against the limits, which is how a peer that does not read is found. Call it again when the
        transport has room: large bodies leave in portions of `Limits.write_bytes`.
        """
        out = self._out
        if out.ready:
            for stream in out.drain(self.limits.write_bytes):
                self._end_local(stream)
        return out.take()

    def send_headers(self, stream: Stream, pairs: Pairs | Block, *, end: bool = False) -> None:
        """The head of an answer, or with `end` a whole answer without a body. Names in lower case."""
        if stream.local_open:
            self._out.headers(stream.id, pairs.data if isinstance(pairs, Block) else encode(pairs), end)
            if end:
                self._end_local(stream)

    def send_data(self, stream: Stream, parts: Iterable[Chunk], *, end: bool = False) -> None:
        """Some of the body, any size: it is queued, cut into frames and sent as windows open. See `Stream.unsent`."""
        self._queue(stream, parts, b"" if end else None)

    def send_trailers(self, stream: Stream, pairs: Pairs | Block) -> None:
        """The end of the body, behind all of its data."""
        self._queue(stream, (), pairs.data if isinstance(pairs, Block) else encode(pairs))

    def reset(self, stream: Stream, code: int = ErrorCode.CANCEL) -> None:
        """End it now, both ways. What it had queued is dropped, what the peer still sends is ignored."""
        if not stream.closed:
            self._abort(stream, code)

    def acknowledge(self, stream: Stream, size: int) -> None:
        """`size` bytes of the stream's data have been read: the peer may send as many more."""
        size = min(size, stream.unread)  # a stream that is over has nothing unread: it was given back then
        stream.unread -= size
        if stream.remote_open:
            self._refill(stream, size)
        self._give_back(size)

    def ping(self, payload: bytes) -> None:
        """payload: eight bytes, which come back in the event Pong."""
        self._out.put(frame(PING, 0, 0, payload))

    def fail(self, code: ErrorCode, reason: str, message: str) -> None:
        """End it now for a limit of the owner's: the peer hears why, it becomes `fault`, calls under way are lost."""
        self._fail(Fault(code, reason, message))

    def lose(self) -> None:
        """The socket is gone: every stream is over."""
        self.closed = True
        for stream in self._streams.values():
            stream.remote_open = stream.local_open = False
            self._out.drop(stream)
        self._streams.clear()
        self._lingering.clear()

    def _fail(self, fault: Fault) -> None:
        """Section 5.4.1: say why, then close."""
        if not self.closed:
            debug = f"{fault.reason}: {fault.message}".encode()[:DEBUG_BYTES_MAX]
            self._out.put(goaway(self._last_peer_stream(), fault.code, debug))
            self.fault = fault
            self.lose()

    def _last_peer_stream(self) -> int:
        """Abstract, a role's. The highest stream of the peer's that was or may have been acted on (section 6.8)."""
        raise NotImplementedError

    def _queue(self, stream: Stream, parts: Iterable[Chunk], end: bytes | None) -> None:
        if not stream.local_open:
            return
        assert stream.queued_end is None, "this side of the stream has ended"
        if self._out.data(stream, parts, end):
            self._end_local(stream)
            return
        try:
            self._check_unread()
        except Fault as fault:
            self._fail(fault)

    def _check_unread(self) -> None:
        """What we have for the peer, and it does not read. Raises Fault."""
        limits = self.limits
        if self._out.pending + self._out.unsent > limits.unsent_bytes:
            message = f"more than {limits.unsent_bytes} bytes wait for the peer to read them"
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "UNSENT_TOO_LARGE", message)
        if self._out.control > limits.control_frames:
            message = f"more than {limits.control_frames} control frames wait for the peer to read them"
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "CONTROL_FRAMES_UNREAD", message)

    def _end_local(self, stream: Stream) -> None:
        stream.local_open = False
        if not stream.remote_open:
            self._forget(stream)
            self._completed += 1

    def _end_remote(self, stream: Stream) -> None:
        stream.remote_open = False
        if not stream.local_open:
            self._forget(stream)
            self._completed += 1

    def _abort(self, stream: Stream, code: int) -> None:
        """Section 5.4.2."""
        self._out.owe(rst_stream(stream.id, code))
        if stream.remote_open:
            self._linger(stream)
        self._kill(stream)

    def _linger(self, stream: Stream) -> None:
        lingering = self._lingering
        lingering[stream.id] = stream
        if len(lingering) > self.limits.streams_remembered:
            del lingering[next(iter(lingering))]

    def _kill(self, stream: Stream) -> None:
        stream.remote_open = stream.local_open = False
        self._out.drop(stream)
        self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        """The stream is closed. Whatever was not read of it will not be."""
        del self._streams[stream.id]
        if stream.unread:
            self._give_back(stream.unread)
            stream.unread = 0
        if self.draining:
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self.draining and not self._streams:
            self.closed = True

    def _give_back(self, size: int) -> None:
        self._owed += size
        if self._owed >= self._enough:
            self._out.owe(window_update(0, self._owed))
            self._window += self._owed
            self._owed = 0

    def _refill(self, stream: Stream, size: int) -> None:
        stream.consumed += size
        if stream.consumed >= self._stream_enough:
            self._out.owe(window_update(stream.id, stream.consumed))
            stream.receive_window += stream.consumed
            stream.consumed = 0
