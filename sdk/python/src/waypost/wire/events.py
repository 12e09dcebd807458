"""What a connection tells its owner. `receive` returns them in the order in which they happened on the wire.

    server                              client
    Request  a whole call at once       Response  a whole answer at once
    Headers  a call begins              Headers   an answer begins (the only one of a trailers-only answer)
    Data     a piece of its body        Data
    Trailers its end, with fields       Trailers
    Reset    the stream is over: by the peer, or by us for what the peer did
    Pong     the answer to a ping of the owner's
    GoAway   the peer will not start, or not take, more streams

What is better looked at than listened for is no event: `Connection.closed` and `fault`, and `Stream.unsent`.

A stream's data counts against its window until `acknowledge` is called for it, or the stream is over: then the
connection gives back what is left. So a unary server that answers what it was given never has to acknowledge.

Not frozen: Python builds a frozen object four times slower, and these are made for every call.
"""

from dataclasses import dataclass

from waypost.wire.heads import Head
from waypost.wire.streams import Stream


@dataclass(slots=True, eq=False)
class Request:
    """A call whose header block and only DATA frame came whole in one read. The stream can be answered at once."""

    stream: Stream
    head: Head
    data: bytes


@dataclass(slots=True, eq=False)
class Response:
    """An answer whose header block, only DATA frame and trailers came whole in one read. The stream is over."""

    stream: Stream
    head: Head
    data: bytes
    trailers: Head


@dataclass(slots=True, eq=False)
class Headers:
    """A request's or a response's head. ended: nothing follows."""

    stream: Stream
    head: Head
    ended: bool


@dataclass(slots=True, eq=False)
class Data:
    """Some of the body, cut anywhere. It may be empty if `ended`: nothing follows."""

    stream: Stream
    data: bytes
    ended: bool


@dataclass(slots=True, eq=False)
class Trailers:
    """Fields behind the body. Nothing follows."""

    stream: Stream
    head: Head


@dataclass(slots=True, eq=False)
class Reset:
    """The stream is over before its time, in both directions.

    code: of RFC 9113, section 7, or unknown to it. reason: ours, empty if the peer reset it. A client may take
    REFUSED_STREAM as a promise that nothing was executed (section 8.7).
    """

    stream: Stream
    code: int
    by_peer: bool
    reason: str = ""


@dataclass(slots=True, eq=False)
class Pong:
    payload: bytes


@dataclass(slots=True, eq=False)
class GoAway:
    """A client must open no further stream; those above `last_stream_id` have been reset with REFUSED_STREAM."""

    last_stream_id: int
    code: int
    debug: bytes


Event = Request | Response | Headers | Data | Trailers | Reset | Pong | GoAway
