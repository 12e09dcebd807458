"""HTTP/2 on a connection: a transport on one side, the wire machine in the middle, gRPC calls on the other.

    data_received ──▶ machine.receive ──▶ events ──▶ calls (h2_calls) ──▶ methods
    transport     ◀── machine.take    ◀── answers told at once or later ◀──┘

What is answered while a read is worked off leaves in one write at its end. What is answered later leaves when the
`Outbox` is told that a batch is settled, or where nobody tells it, in the event loop's next turn: so eight answers of
one batch to one peer are one system call too.

The machine bounds what a peer may do to the protocol; here is what it may do to us: how long an answer may lie, how
much may wait for it, how long it may be silent. Every breach ends this connection or this call and no other.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from inference_host.transport.auth import Gate
from inference_host.transport.connections import DIRECT_BYTES_MIN, Connections, LowWater
from inference_host.transport.h2_calls import TAKE_S_MAX, Call, Misdirected
from inference_host.transport.h2_heads import Ask, Reader, Tails
from inference_host.transport.h2_streaming import StreamingCall
from inference_host.transport.h2_unary import UnaryCall
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import Data, ErrorCode, Head, Headers, Request, Reset, ServerConnection, Stream, Trailers
from waypost.wire import Limits as WireLimits

log = structlog.get_logger()

HANG_UP_S = 1.0  # for a peer to read why its connection ends
WAITING_BYTES_MAX = 2 * MESSAGE_BYTES_MAX  # of answers in the machine; further large ones wait behind them
LIMITS = WireLimits(unsent_bytes=4 * MESSAGE_BYTES_MAX)
"""Small answers never wait for large ones: the machine takes those beyond WAITING_BYTES_MAX too, up to this."""


class Outbox:
    """Connections that have something to write. Whoever told the last of several answers says `flush`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._dirty: dict[Connection, None] = {}
        self._scheduled = False

    def add(self, connection: "Connection", *, settles: bool = False) -> None:
        """settles: somebody will say `flush`; else it is done in the loop's next turn, which costs a turn."""
        if not settles and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_as_scheduled)
        self._dirty[connection] = None

    def flush(self) -> None:
        while self._dirty:
            self._dirty.popitem()[0].flush()

    def _flush_as_scheduled(self) -> None:
        self._scheduled = False
        self.flush()


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections share."""

    reader: Reader
    gate: Gate
    connections: Connections
    tasks: asyncio.TaskGroup
    limits: WireLimits = LIMITS
    tails: Tails = field(default_factory=Tails)
    outbox: Outbox = field(default_factory=Outbox)


class Connection(asyncio.BufferedProtocol):
    """One peer. full: there is no place for it, which it is told at once."""

    def __init__(self, service: Service, *, full: bool = False) -> None:
        self.service = service
        self.clock = time.monotonic  # what the loop's own clock reads, without a call in between
        self.machine = ServerConnection(service.limits, now=self.clock())
        self.calls: dict[int, Call] = {}
        """Those that wait for something: more of the request, the method, or the peer to take the answer."""
        self._full = full
        self._later: deque[tuple[int, Callable[[], None]]] = deque()
        self._sending: dict[int, Call] = {}
        self._gatherer: UnaryCall | None = None
        """The call whose message is read into its place just now."""
        self._receiving = False
        self._told = False
        """The outbox knows that there is something to write, and will be told to."""
        self._writable = True
        self._stuck_since: float | None = None
        self._heard_at = service.connections.now
        self._closing = False
        self._transport: asyncio.Transport
        self._low_water: LowWater

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._low_water = LowWater(transport)
        if self._full:
            places = self.service.connections.limits.connections
            self.machine.fail(ErrorCode.ENHANCE_YOUR_CALM, "TOO_MANY_CONNECTIONS", f"{places} are open already")
        elif self.service.connections.draining:
            self.machine.shutdown(self.clock())
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.machine.due is not None and (room := self._room(*self.machine.due)) is not None:
            return room
        return self.service.connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._gatherer is None:
            self.data_received(bytes(self.service.connections.buffer[:nbytes]))
        else:
            self._gathered(self._gatherer, nbytes)
        due = self.machine.due
        if due is not None or self._low_water.raised:
            self._low_water.expect(0 if due is None else due[1])

    def _room(self, stream: Stream, size: int) -> memoryview | None:
        """Where the next bytes of a large message belong: read into their place they need not be copied there."""
        call = self.calls.get(stream.id)
        if type(call) is not UnaryCall or (room := call.room) is None or len(room) < DIRECT_BYTES_MIN:
            return None
        self._gatherer = call
        return room[:size]

    def _gathered(self, call: UnaryCall, size: int) -> None:
        self._gatherer = None
        now = self._heard_at = self.clock()
        self._receiving = True
        ended = self.machine.received(size, now)
        call.gathered(size, ended=ended)
        self.machine.acknowledge(call.stream, size)
        self._receiving = False
        self.flush()

    def data_received(self, data: bytes) -> None:
        now = self._heard_at = self.clock()
        self._receiving = True
        for event in self.machine.receive(data, now):
            if type(event) is Request:
                self._on_request(event, now)
            elif type(event) is Data:
                self._on_data(event)
            elif type(event) is Headers:
                self._on_headers(event, now)
            elif type(event) is Trailers:
                self._on_end(event.stream)
            elif type(event) is Reset:
                self._on_reset(event.stream)
        self._receiving = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self.machine.lose()
        self._lose_calls()
        self.service.connections.leave(self)

    def pause_writing(self) -> None:
        """Whoever does not read our answers is not read either: that is what bounds both."""
        self._writable = False
        self._stuck_since = self.service.connections.now
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        if not self._closing:
            self._stuck_since = None
            self._transport.resume_reading()
            self.flush()

    # -- connections.Connection

    @property
    def idle_since(self) -> float | None:
        return None if self.machine.open_streams else self._heard_at

    def tick(self, now: float) -> None:
        if self._stuck_since is not None and now - self._stuck_since > TAKE_S_MAX:
            self._transport.abort()  # a GOAWAY would wait behind what it does not take
            return
        self._low_water.lower()
        for call in list(self.calls.values()):
            call.tick(now)
        self.machine.tick(now)
        self.flush()

    def drain(self) -> None:
        self.machine.shutdown(self.clock())
        self.flush()

    def abort(self) -> None:
        self._transport.abort()

    # -- what the peer says

    def _on_request(self, event: Request, now: float) -> None:
        ask = event.head.note or self.service.reader.read(event.head)
        if ask.begin is not None:  # shorter than the way below, for nearly every call
            UnaryCall(self, event.stream, ask, now).answer(event.data)
        elif (other := self._open(event.stream, event.head, now)) is not None:
            other.feed(event.data, ended=True)

    def _on_headers(self, event: Headers, now: float) -> None:
        call = self._open(event.stream, event.head, now)
        if call is not None and event.ended:
            call.feed(b"", ended=True)

    def _open(self, stream: Stream, head: Head, now: float) -> Call | None:
        """None where the answer is known by the head alone."""
        call = _call_of(self, stream, head.note or self.service.reader.read(head), now)
        if not call.open():
            return None
        self.calls[stream.id] = call
        return call

    def _on_data(self, event: Data) -> None:
        call = self.calls.get(event.stream.id)
        if call is not None:
            call.feed(event.data, ended=event.ended)
        if type(call) is not StreamingCall:  # which gives back what its method has used
            self.machine.acknowledge(event.stream, len(event.data))

    def _on_end(self, stream: Stream) -> None:
        call = self.calls.get(stream.id)
        if call is not None:
            call.feed(b"", ended=True)

    def _on_reset(self, stream: Stream) -> None:
        call = self.calls.get(stream.id)
        if call is not None:
            call.lost()
            self._forget(call)

    # -- what calls say

    def over(self, call: Call) -> None:
        """Its method has said everything."""
        if call.stream.unsent:
            self.calls[call.stream.id] = call
            self.sending(call)
        else:
            self._forget(call)
        if not self._receiving and not (self._told and call.ask.settles):
            self._told = call.ask.settles
            self.service.outbox.add(self, settles=self._told)

    def sending(self, call: Call) -> None:
        """It wants to know when what it has sent has left."""
        self._sending[call.stream.id] = call

    def later(self, call: Call, size: int, send: Callable[[], None]) -> None:
        """Sends a large answer when those before it have left room for it."""
        self.calls[call.stream.id] = call
        self._later.append((size, send))
        self.touch()

    def touch(self) -> None:
        """There is something to write."""
        if not self._receiving:
            self.service.outbox.add(self)

    def give_up(self, call: Call, code: ErrorCode) -> None:
        """Ends one stream that makes no headway."""
        log.info("h2_stream_given_up", method=call.ask.path, reason="SLOW_READER")
        self.machine.reset(call.stream, code)
        self._forget(call)

    def _forget(self, call: Call) -> None:
        self.calls.pop(call.stream.id, None)
        if self._sending:
            self._sending.pop(call.stream.id, None)
        if call.held:
            call.hold(0)

    # -- writing

    def flush(self) -> None:
        """Writes what there is, as long as the peer takes it."""
        machine, transport = self.machine, self._transport
        self._told = False
        while self._writable and not self._closing:
            if self._later:
                self._send_later()
            chunks = machine.take()
            if not chunks:
                break
            transport.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if self._sending:
            self._look_at_sending()
        if machine.closed and not self._closing and (machine.fault is not None or not machine.wants_write):
            self._hang_up()

    def _send_later(self) -> None:
        later, machine = self._later, self.machine
        while later and (not machine.unsent_bytes or machine.unsent_bytes + later[0][0] <= WAITING_BYTES_MAX):
            later.popleft()[1]()

    def _look_at_sending(self) -> None:
        for call in list(self._sending.values()):
            if call.written():
                self._forget(call)

    # -- the end

    def _hang_up(self) -> None:
        """Closing at once, on bytes that the peer still sends, would reset the last ones away that we wrote."""
        self._closing = True
        self._stuck_since = self.service.connections.now  # it has to take the last words, too
        fault = self.machine.fault
        self._lose_calls()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        loop = asyncio.get_running_loop()
        if fault is None:
            loop.call_later(HANG_UP_S, self._transport.close)  # it may still take its last answers
            return
        log.info("h2_connection_ended", code=fault.code.name, reason=fault.reason, message=fault.message)
        loop.call_later(HANG_UP_S, self._transport.abort)

    def _lose_calls(self) -> None:
        calls, self.calls = self.calls, {}
        self._later.clear()
        self._sending.clear()
        for call in calls.values():
            call.lost()
            call.hold(0)


def _call_of(connection: Connection, stream: Stream, ask: Ask, now: float) -> Call:
    """The call that a head begins."""
    if ask.wrong is not None:
        return Misdirected(connection, stream, ask, now)
    if ask.streaming is not None:
        return StreamingCall(connection, stream, ask, now)
    return UnaryCall(connection, stream, ask, now)
