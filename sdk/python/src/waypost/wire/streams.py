"""One stream's state: who may still speak, and how much (RFC 9113, sections 5.1 and 5.2).

    remote_open, local_open   open
    local_open                half closed (remote): the peer has ended its side
    remote_open               half closed (local): we have
    neither                   closed

An owner gets streams in events and hands them back in calls. It may keep its own object for the call in `owner`, read
`unsent`, and write nothing else.
"""

from collections import deque
from typing import Any

from waypost.wire.faults import ErrorCode, StreamFault

Chunk = bytes | memoryview
"""Some of a body. A view must be one of single bytes, as `memoryview(array).cast("B")` is: its length is counted."""


class Stream:
    """id: odd, as only clients open streams here."""

    __slots__ = (
        "bodiless",
        "body_left",
        "consumed",
        "id",
        "informed",
        "local_open",
        "owner",
        "queue",
        "queued_end",
        "receive_window",
        "remote_open",
        "send_window",
        "unread",
        "unsent",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        self.owner: Any = None
        """Whatever the owner hangs here."""
        self.remote_open = True
        self.local_open = True
        self.send_window = send_window
        """Bytes we may send; negative after the peer shrank its initial window (section 6.9.2)."""
        self.receive_window = receive_window
        """Bytes the peer may send."""
        self.unread = 0
        """Bytes received that the owner has not acknowledged."""
        self.unsent = 0
        """Bytes in `queue`."""
        self.consumed = 0
        """Bytes acknowledged by the owner that were not given back to the peer yet."""
        self.body_left = -1
        """What content-length says is still to come; -1: it does not say."""
        self.bodiless = False
        """The answer has no body, whatever its content-length says: it answers HEAD."""
        self.informed = False
        """The peer's head came, so the next header block is its trailers."""
        self.queue: deque[Chunk] | None = None
        """Data that waits for its turn; None while nothing ever had to."""
        self.queued_end: bytes | None = None
        """What ends our side behind the queue: a block of trailers, or b"" for END_STREAM on the last DATA."""

    @property
    def closed(self) -> bool:
        return not (self.remote_open or self.local_open)

    def count(self, length: int, content: int, ended: bool) -> None:
        """A DATA frame came, `length` bytes with its padding. Raises StreamFault.

        Sections 5.1, 6.9.1, 8.1.1: the peer's side is open, the window wide enough, content-length true.
        """
        if not self.remote_open:
            raise StreamFault(self.id, ErrorCode.STREAM_CLOSED, "STREAM_CLOSED")
        self.receive_window -= length
        if self.receive_window < 0:
            raise StreamFault(self.id, ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_EXCEEDED")
        if not self.informed:
            raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "DATA_BEFORE_HEADERS")
        if self.body_left >= 0:
            self.body_left -= content
            if self.body_left < 0 or (ended and self.body_left):
                raise StreamFault(self.id, ErrorCode.PROTOCOL_ERROR, "CONTENT_LENGTH_WRONG")
        self.unread += length

    def __repr__(self) -> str:
        return f"Stream({self.id}, remote_open={self.remote_open}, local_open={self.local_open}, unsent={self.unsent})"


class Body:
    """A DATA frame of which more is to come. stream: None if nobody wants it. Both counts in bytes."""

    __slots__ = ("content_left", "ended", "frame_left", "stream")

    def __init__(self, stream: Stream | None, content_left: int, frame_left: int, ended: bool) -> None:
        self.stream = stream
        self.content_left = content_left
        self.frame_left = frame_left
        self.ended = ended
