"""HTTP/1.1 on a connection: bytes to `Request` (http1_core), `Response` to bytes, one request after the other.

    begin(Request, answer) -> Withdraw | None      what the application gives; it answers its own errors

No task and no timer per request: a request is begun where its last byte is read, and answered where its answer is
told. Pipelined requests wait for each other, so they are answered in order by nature; while one is being answered at
most `READ_AHEAD_BYTES` of the next are read. A client that goes away withdraws what it asked for.

Every wait has an end, looked at once a second: a connection may idle, must then send a request whole, and must take
its answer, each within its time. Draining tells busy clients `Connection: close` with their answer, and gives idle
connections `LINGER_S`: a request that was on its way meanwhile gets a proper answer (the application says 503) and no
reset.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum, auto
from typing import TypeAlias

import structlog

from inference_host.transport.connections import DIRECT_BYTES_MIN, Connections, LowWater
from inference_host.transport.http1_core import Answer, Parser, Renderer, Request, Response
from inference_host.transport.http1_head import Refusal
from inference_host.values.calls import Withdraw
from mesh.clock import now

log = structlog.get_logger()

READ_AHEAD_BYTES = 64 << 10  # of pipelined requests while one is answered
LINGER_S = 0.2  # longer than any packet is on its way between a gateway and us
HANG_UP_S = 1.0  # for a client to read why it was refused
JOIN_BYTES_MAX = 64 << 10  # below it, copying an answer together is cheaper than a second system call
COUNTED_BYTES_MIN = 64 << 10  # of a request or an answer: smaller ones are bounded by the number of connections

Begin: TypeAlias = Callable[[Request, Answer], Withdraw | None]
Refuse: TypeAlias = Callable[[int, str], Response]


@dataclass(frozen=True, slots=True)
class Limits:
    body_bytes: int
    """Of one request."""
    idle_s: float = 75.0
    """Between two requests. Above the 60 s after which gateways let go of theirs, so that none is closed under them."""
    request_s: float = 60.0
    """From a request's first byte to its last: one megabyte a second for the largest."""
    write_s: float = 60.0
    """For a client to take its answer."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections share. refuse: the answer to what is no request, from a status and a sentence."""

    begin: Begin
    refuse: Refuse
    limits: Limits
    connections: Connections
    renderer: Renderer = field(default_factory=Renderer)


class _For(Enum):
    """What a connection waits for."""

    NEXT = auto()
    """A request's first byte."""
    REST = auto()
    """The rest of it."""
    ANSWER = auto()
    """The application."""
    ROOM = auto()
    """The client to take its answer."""
    END = auto()
    """The client to take the last answer, and to close."""


_READS = (_For.NEXT, _For.REST)


class Connection(asyncio.BufferedProtocol):
    """One client. full: there is no place for it, which it is told with its first request's answer."""

    def __init__(self, service: Service, *, full: bool = False) -> None:
        self._service = service
        self._limits = service.limits
        self._connections = service.connections
        self._full = full
        self._parser = Parser(service.limits.body_bytes)
        self._waits = _For.NEXT
        self._since = service.connections.now
        self._request: Request | None = None
        self._withdraw: Withdraw | None = None
        self._advancing = False
        self._direct = False
        """Whether the body is read into its place just now."""
        self._reading = True
        self._writable = True
        self._held = 0
        self._out: list[bytes | memoryview] = []
        self._out_bytes = 0
        self._transport: asyncio.Transport
        self._low_water: LowWater

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._low_water = LowWater(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        room = self._parser.room if self._waits is _For.REST else None
        self._direct = room is not None and len(room) >= DIRECT_BYTES_MIN
        return room if room is not None and self._direct else self._connections.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._direct:
            self.data_received(bytes(self._connections.buffer[:nbytes]))
        elif self._waits is _For.REST:
            self._parser.gathered(nbytes)
            self._advance()
        room = self._parser.room if self._waits is _For.REST else None
        if room is not None or self._low_water.raised:
            self._low_water.expect(0 if room is None else len(room))

    def data_received(self, data: bytes) -> None:
        if self._waits is _For.END:
            return
        if self._waits is _For.NEXT and not self._full:
            request = self._parser.whole(data)
            if request is not None:
                self._begin(request)
                return
        self._parser.feed(data)
        if self._waits in _READS:
            self._advance()
        elif self._reading and self._parser.buffered_bytes > READ_AHEAD_BYTES:
            self._transport.pause_reading()
            self._reading = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._waits = _For.END
        self._hold(0)
        self._connections.leave(self)
        if self._withdraw is not None:
            self._withdraw()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._waits is _For.ROOM:
            self._next()

    # -- connections.Connection

    @property
    def idle_since(self) -> float | None:
        return self._since if self._waits is _For.NEXT else None

    def tick(self, now: float) -> None:
        self._low_water.lower()
        waited_s = now - self._since
        match self._waits:
            case _For.NEXT if waited_s > self._limits.idle_s:
                self._close()
            case _For.REST if waited_s > self._limits.request_s:
                self._hang_up(Refusal(408, f"the request was not whole after {self._limits.request_s:g} s"))
            case _For.ROOM | _For.END if waited_s > self._limits.write_s:
                self._transport.abort()

    def drain(self) -> None:
        """Ends after the answer under way, or after a moment where there is none."""
        if self._waits is _For.NEXT:
            asyncio.get_running_loop().call_later(LINGER_S, self._close_if_idle)

    def abort(self) -> None:
        self._transport.abort()

    # -- requests

    @property
    def read_ahead_bytes(self) -> int:
        """Bytes of requests that wait for the one under way."""
        return self._parser.buffered_bytes

    def _next(self) -> None:
        """The last request is over and its answer taken."""
        if self._held:
            self._hold(0)
        if self._waits is not _For.NEXT:
            self._wait(_For.NEXT)
        if not self._parser.idle or self._connections.draining or not self._reading:
            self._advance()

    def _advance(self) -> None:
        """Takes one request after the other, as long as they are whole and answered at once."""
        self._advancing = True
        try:
            while self._waits in _READS and (request := self._parser.next()) is not None:
                self._begin(request)
            if self._waits in _READS:
                self._await_more()
        except Refusal as refusal:
            self._hang_up(refusal)
        finally:
            self._advancing = False
        self._flush()

    def _begin(self, request: Request) -> None:
        """Raises: Refusal."""
        if self._full:
            raise Refusal(503, f"{self._connections.limits.connections} connections are open already")
        self._request = request
        self._wait(_For.ANSWER)
        try:
            withdraw = self._service.begin(request, self._answered)
        except Exception as error:  # the life of a request ends here
            log.error("request_failed", method=request.method, target=request.target, exc_info=error)
            self._answered(self._service.refuse(500, "internal error; its traceback stands in the server's log"))
            return
        if self._waits is _For.ANSWER:
            self._withdraw = withdraw

    def _await_more(self) -> None:
        """Raises: Refusal."""
        if self._parser.awaits_continue:
            self._out.append(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._hold(self._parser.buffered_bytes):
            raise Refusal(503, "the memory for requests on their way is taken")
        if not self._parser.idle:
            self._wait(_For.REST)
        elif self._connections.draining:
            self.drain()
        if not self._reading:
            self._transport.resume_reading()
            self._reading = True

    def _answered(self, response: Response) -> None:
        request, self._request, self._withdraw = self._request, None, None
        if self._waits is _For.END:
            return
        assert request is not None, "a request is answered once"
        keep = request.keep_alive and not self._connections.draining
        self._send(response, keep=keep, head_only=request.method == "HEAD")
        if not keep:
            self._flush()
            self._close()
        elif self._advancing:
            self._wait(_For.NEXT)
            if self._out_bytes > JOIN_BYTES_MAX:  # who pipelines and does not read must not fill the memory
                self._flush()
        else:
            self._wait(_For.NEXT)
            self._flush()
            if self._waits is _For.NEXT:
                self._next()

    def _close_if_idle(self) -> None:
        """A request that is coming in is waited for, and answered."""
        if self._waits is _For.NEXT:
            self._close()

    def _close(self) -> None:
        """When the client has taken what was written."""
        self._wait(_For.END)
        self._transport.close()

    def _hang_up(self, refusal: Refusal) -> None:
        """The last answer. Closing at once, on bytes that the client still sends, would reset the answer away."""
        self._send(self._service.refuse(refusal.status, refusal.message), keep=False)
        self._flush()
        self._wait(_For.END)
        self._hold(0)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(HANG_UP_S, self._transport.abort)

    # -- time and memory

    def _wait(self, what: _For) -> None:
        """REST began with the first byte, however often more come."""
        if what is not self._waits:
            self._waits = what
            self._since = self._connections.now

    def _hold(self, size: int) -> bool:
        """Whether there is memory for the `size` bytes that this connection holds now."""
        if size < COUNTED_BYTES_MIN:
            size = 0
        growth, self._held = size - self._held, size
        return not growth or self._connections.count(growth) or growth < 0

    # -- writing

    def _send(self, response: Response, *, keep: bool, head_only: bool = False) -> None:
        size = sum(map(len, response.body))
        head = self._service.renderer.head(response, size, date=_date(int(now())), keep=keep)
        self._out.append(head)
        self._out_bytes += len(head)
        if not head_only:
            self._out += response.body
            self._out_bytes += size

    def _flush(self) -> None:
        parts, size = self._out, self._out_bytes
        if not parts:
            return
        self._out, self._out_bytes = [], 0
        if size <= JOIN_BYTES_MAX:
            self._transport.write(b"".join(parts))
        else:
            for part in parts:
                self._transport.write(part)
        if not self._writable and self._waits in _READS:
            self._wait(_For.ROOM)
            if not self._hold(self._transport.get_write_buffer_size()):
                self._transport.abort()  # it asks for more than it takes, and there is no memory to wait for it


_last_date = (0, "")


def _date(second: int) -> str:
    """Formatting it takes longer than a small model: once a second is enough."""
    global _last_date
    if _last_date[0] != second:
        _last_date = (second, formatdate(second, usegmt=True))
    return _last_date[1]
