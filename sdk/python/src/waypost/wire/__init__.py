"""HTTP/2 and gRPC as pure machines: bytes and the time in, events and bytes out. No I/O, no clock, no luck.

The inference host serves on it, since a warm unary call costs 3 µs of Python here and 200 to 300 µs in grpcio, whose
threads hand each call to one another. It works because of how gRPC clients behave: one read often holds several calls;
a client's header blocks repeat byte for byte, so a dictionary replaces decoding (`blocks`); an answer is two constants
around a message, and all answers of a read leave in one write (`server`).

Everything that is not the warm call is there too, and strict, because hosts are reached by whoever holds a network
address: all rules of RFC 9113 and RFC 7541, and a limit with a name and a reason for everything a peer can make us
keep or do (`limits`).

    faults      error codes; what ends a stream, what ends the connection
    limits      what one connection may cost
    hpack       header lists to bytes and back; huffman, fields below it
    heads       what a list of fields says: request, response, trailers
    blocks      header blocks as they come in, and the memory of them
    frames, settings, streams, outbox, liveness     parts of the connection
    http2       the connection: outgoing, control, framing below it; server and client above
    events      what `receive` returns
    grpc        calls: heads, trailers, status; messages, metadata, status below it

What an owner does, a server for instance:

    at the start       connection = ServerConnection(limits, now=clock())
    on bytes           for event in connection.receive(data, clock()): …
    on a timer         due = connection.tick(clock())
    after any call     while connection.wants_write and the transport has room: write(connection.take())
                       if connection.closed: close the socket
    on loss            connection.lose()
    at its own limits  connection.fail(code, reason, message); stream by stream: connection.reset(stream, code)

While its transport is full it stops reading as well: who does not read answers need not ask for more.
"""

from waypost.wire.client import ClientConnection
from waypost.wire.events import Data, Event, GoAway, Headers, Pong, Request, Reset, Response, Trailers
from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.frames import PREFACE, Block
from waypost.wire.heads import Head
from waypost.wire.limits import Limits, Rate
from waypost.wire.server import ServerConnection
from waypost.wire.streams import Stream

__all__ = [
    "PREFACE",
    "Block",
    "ClientConnection",
    "Data",
    "ErrorCode",
    "Event",
    "Fault",
    "GoAway",
    "Head",
    "Headers",
    "Limits",
    "Pong",
    "Rate",
    "Request",
    "Reset",
    "Response",
    "ServerConnection",
    "Stream",
    "Trailers",
]
