"""What is to leave: finished frames, and data that waits for its turn.

Control frames, heads and small whole answers go straight to the output. A body that has to wait, because a window of
the peer's is shut or because others wait already, stays in its stream's queue. `take` hands out the finished frames,
and before that lets the waiting streams in: one DATA frame each, round and round, as the windows and
`Limits.write_bytes` allow. So one large answer never holds up the others, whether the network or the peer's window is
the narrow place.

Nothing is copied: queued chunks leave as they came, or as views when a frame's end cuts them. The caller must not
change a buffer it has handed over.
"""

from collections import deque
from collections.abc import Iterable

from waypost.wire.frames import DATA, END_STREAM, FRAME_BYTES_MIN, WINDOW_DEFAULT, header_frames, pack_header
from waypost.wire.hpack import Encoder
from waypost.wire.limits import SENT_BYTES_MIN
from waypost.wire.streams import Chunk, Stream

TURN_BYTES_MAX = 128 << 10  # however large the peer lets frames be: 0.1 ms of a 10 Gbit/s link, then another's turn


class Outbox:
    """window: the connection's, for DATA. ready: streams that have data and an open window, the next one first.

    unsent: bytes in streams' queues; pending: bytes in `frames`; control: frames there that the peer made us owe;
    progress: DATA frames sent that count as such (`waypost.wire.limits`).
    """

    __slots__ = ("control", "encoder", "frame_bytes", "frames", "pending", "progress", "ready", "unsent", "window")

    def __init__(self) -> None:
        self.frames: list[Chunk] = []
        self.pending = 0
        self.control = 0
        self.window = WINDOW_DEFAULT
        self.frame_bytes = FRAME_BYTES_MIN
        self.encoder = Encoder()
        self.ready: dict[int, Stream] = {}
        self.unsent = 0
        self.progress = 0

    def put(self, frames: bytes) -> None:
        self.frames.append(frames)
        self.pending += len(frames)

    def owe(self, frame: bytes) -> None:
        """A control frame, counted against `Limits.control_frames`."""
        self.control += 1
        self.put(frame)

    def headers(self, stream_id: int, block: bytes, ended: bool) -> None:
        """block: encoded by the module hpack, or by `encoder` just now."""
        self.put(header_frames(stream_id, self.encoder.update() + block, ended, self.frame_bytes))

    def data(self, stream: Stream, parts: Iterable[Chunk], end: bytes | None) -> bool:
        """Queue. end: as `Stream.queued_end`, None for more to come. → whether our side of the stream ended here."""
        queue = stream.queue
        if queue is None:
            queue = stream.queue = deque()
        for part in parts:
            assert not isinstance(part, memoryview) or part.nbytes == len(part), "a view must be one of single bytes"
            if part:
                queue.append(part)
                stream.unsent += len(part)
                self.unsent += len(part)
        stream.queued_end = end
        if not stream.unsent:
            return self._end(stream)
        self.offer(stream)
        return False

    def offer(self, stream: Stream) -> None:
        """Its window or its queue has changed: is it to have a turn? A window may also have shut (section 6.9.2)."""
        if stream.unsent and stream.send_window > 0:
            self.ready[stream.id] = stream
        else:
            self.ready.pop(stream.id, None)

    def drop(self, stream: Stream) -> None:
        """It was reset: what it had queued will not be sent."""
        self.ready.pop(stream.id, None)
        self.unsent -= stream.unsent
        stream.unsent = 0
        stream.queue = stream.queued_end = None

    def drain(self, bytes_max: int) -> list[Stream]:
        """Move about `bytes_max` of what waits into `frames`. → streams whose side of ours ended."""
        ended = []
        enough = self.pending + bytes_max
        ready = self.ready
        while ready and self.window > 0 and self.pending < enough:
            stream_id, stream = next(iter(ready.items()))
            del ready[stream_id]  # and behind the others again, unless it is done or shut
            self._send_frame(stream)
            if stream.unsent:
                self.offer(stream)
            elif stream.queued_end == b"" or self._end(stream):
                ended.append(stream)
        return ended

    def take(self) -> list[Chunk]:
        frames, self.frames = self.frames, []
        self.pending = self.control = 0
        return frames

    def _send_frame(self, stream: Stream) -> None:
        size = min(stream.unsent, stream.send_window, self.window, self.frame_bytes, TURN_BYTES_MAX)
        stream.send_window -= size
        stream.unsent -= size
        self.window -= size
        self.unsent -= size
        flags = END_STREAM if stream.queued_end == b"" and not stream.unsent else 0
        self.put(pack_header(size >> 8, size & 0xFF, DATA, flags, stream.id))
        self.pending += size
        self.progress += size >= SENT_BYTES_MIN
        self._move(stream, size)

    def _move(self, stream: Stream, size: int) -> None:
        queue = stream.queue
        assert queue is not None
        while size:
            chunk = queue[0]
            if len(chunk) <= size:
                queue.popleft()
            else:
                view = memoryview(chunk)
                chunk, queue[0] = view[:size], view[size:]
            self.frames.append(chunk)
            size -= len(chunk)

    def _end(self, stream: Stream) -> bool:
        """Nothing is queued: send the end, if there is one."""
        end = stream.queued_end
        if end is None:
            return False
        if end:
            self.headers(stream.id, end, True)
        else:
            self.put(pack_header(0, 0, DATA, END_STREAM, stream.id))
        return True
