"""A gRPC channel of our own for asyncio: `waypost.wire` on a socket, without grpc, threads and tasks.

    async with WireChannel("unix:/run/monitor.sock") as channel:
        answer = await channel.unary("/waypost.api.xapp.v1.AccessService/Resolve", request, timeout_s=1.0)

        call = await channel.stream("/waypost.api.link.v1.HostLinkService/ConnectHost")
        await call.send(hello)
        while (message := await call.receive()) is not None:
            ...

grpcio takes 12 MB and seven threads for a first channel, this takes neither, and a call costs its caller half as much.
Messages are bytes: whoever calls knows their types. Errors are MeshErrors, as everywhere in the SDK.

    WireChannel   dials with the first call, and anew where the connection has ended; calls that come meanwhile wait for
                  the one attempt. It never dials of itself: when to try again after a failure is its caller's to say.
    Connection    one socket and the machine behind it; it tells its calls what it hears
    WireCall      one call (wire_call.py)

A connection that the server wants to be rid of (GOAWAY) ends with its last call, while new calls dial. Pings find out
that a silent peer is gone; what may be sent and received at once is the machine's to bound (`waypost.wire.limits`).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from math import isinf
from typing import Self

from waypost.codes import Status
from waypost.rpc.status import of_code
from waypost.rpc.target import MESSAGE_BYTES_MAX, without_scheme
from waypost.rpc.wire_call import WireCall
from waypost.wire import ClientConnection, Data, Event, GoAway, Headers, Limits, Pong, Reset, Response, Trailers
from waypost.wire.grpc import request_head
from waypost.wire.metadata import Metadata, encode_metadata, format_timeout
from waypost.wire.streams import Chunk

DIAL_S = 5.0  # for a connection to stand, TLS included; as long as grpc's attempts take at most
TICK_S = 1.0  # every time limit of a connection is kept to a second
LIMITS = Limits(unsent_bytes=4 * MESSAGE_BYTES_MAX)

Fields = tuple[tuple[bytes, bytes], ...]


class WireChannel:
    """Calls to the server at one address. For one event loop."""

    def __init__(
        self,
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        metadata: Metadata = (),
    ) -> None:
        """tls: must offer `h2` (ALPN). server_name: that its certificate must carry, where it is not the address.
        metadata: of every call. Raises: ValueError for metadata that gRPC does not allow.
        """
        self._address, _ = without_scheme(address)
        self._tls = tls
        self._server_name = server_name
        self._metadata = encode_metadata(metadata)
        self._heads: dict[str, Fields] = {}
        self._dialling = asyncio.Lock()
        self._connection: Connection | None = None
        self._leaving: set[Connection] = set()
        self._closed = False

    async def unary(
        self, path: str, request: bytes, *, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> Chunk:
        """The answer's message. timeout_s: for all of it, dialling included. Raises: MeshError."""
        call = await self._begin(path, timeout_s, metadata, (request,))
        try:
            return await call.only_answer()
        finally:
            call.cancel()

    async def stream(self, path: str, *, timeout_s: float | None = None, metadata: Metadata = ()) -> WireCall:
        """A call whose messages come and go in any order. Raises: Unavailable, DeadlineExceeded."""
        return await self._begin(path, timeout_s, metadata)

    async def close(self) -> None:
        """Calls under way end with Cancelled."""
        self._closed = True
        for connection in [*self._leaving, *filter(None, [self._connection])]:
            connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _begin(
        self, path: str, timeout_s: float | None, metadata: Metadata, request: Sequence[bytes] = ()
    ) -> WireCall:
        """Raises: MeshError."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._connected()
        except TimeoutError:
            raise of_code(Status.DEADLINE_EXCEEDED, f"no connection to {self._address} in time") from None
        extra = encode_metadata(metadata)
        if deadline is not None:
            extra = (*extra, (b"grpc-timeout", format_timeout(deadline - loop.time())))
        return connection.open(self._head(path), extra, deadline, request)

    def _head(self, path: str) -> Fields:
        head = self._heads.get(path)
        if head is None:
            authority = "localhost" if self._address.startswith("unix:") else self._address
            scheme = "http" if self._tls is None else "https"
            head = self._heads[path] = request_head(path, authority, self._metadata, scheme=scheme)
        return head

    async def _connected(self) -> "Connection":
        """One that takes another call."""
        while True:
            connection = self._connection
            if connection is None or connection.is_leaving:
                connection = await self._dial_once()
            if connection.machine.capacity:
                return connection
            await connection.room()

    async def _dial_once(self) -> "Connection":
        async with self._dialling:
            if self._closed:
                raise of_code(Status.CANCELLED, "the channel is closed")
            connection = self._connection
            if connection is None or connection.is_leaving:
                if connection is not None:
                    self._leaving.add(connection)
                connection = self._connection = await self._dial()
            return connection

    async def _dial(self) -> "Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DIAL_S):
                if self._address.startswith("unix:"):
                    path = self._address.removeprefix("unix:")
                    _, connection = await loop.create_unix_connection(self._made, path)
                else:
                    host, _, port = self._address.rpartition(":")
                    name = self._server_name or host.strip("[]") if self._tls else None
                    _, connection = await loop.create_connection(
                        self._made, host.strip("[]"), int(port), ssl=self._tls, server_hostname=name
                    )
            if not connection.speaks_http2:
                connection.abort()
                raise OSError("the server does not speak HTTP/2")
        except (OSError, ValueError) as error:  # ssl.SSLError and TimeoutError are OSErrors; a port may be no number
            why = str(error) or "it takes too long"
            raise of_code(Status.UNAVAILABLE, f"cannot connect to {self._address}: {why}") from error
        return connection

    def _made(self) -> "Connection":
        return Connection(self._leaving.discard)


class Connection(asyncio.Protocol):
    """One socket. lost: called with it when it is gone."""

    def __init__(self, lost: "Callable[[Connection], None]") -> None:
        self._loop = asyncio.get_running_loop()
        self.machine = ClientConnection(LIMITS, now=self._loop.time())
        self.writable = True
        self._lost = lost
        self._calls: dict[int, WireCall] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        """Callers for whom the server takes too few calls at once."""
        self._transport: asyncio.Transport
        self._is_secured = False
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def is_leaving(self) -> bool:
        """It takes no further call, for good."""
        return self.machine.draining or self.machine.closed

    @property
    def speaks_http2(self) -> bool:
        """Whether a server that was asked for it over TLS agreed."""
        return not self._is_secured or self._transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"

    def open(self, head: Fields, extra: Fields, deadline: float | None, request: Sequence[bytes]) -> WireCall:
        """A new call; with a `request` its caller says nothing more. Needs `machine.capacity`. Raises: Exhausted."""
        parts = WireCall.framed(request)
        call = WireCall(self, deadline)
        call.stream = self.machine.request(head, parts, extra=extra, end=bool(request))
        self._calls[call.stream.id] = call
        self.flush()
        return call

    async def room(self) -> None:
        """Returns when a call has ended, or the connection."""
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._wake(1)  # it was woken, and has no use for it any more
            raise

    def over(self, call: WireCall) -> None:
        """A call has ended, whoever ended it."""
        self._calls.pop(call.stream.id, None)
        self._wake(1)
        self.flush()

    def abort(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        for call in list(self._calls.values()):
            call.cancel()
        self.machine.shutdown(self._loop.time())
        self.flush()
        if self._is_secured:  # asyncio would wait half a minute for the server to end TLS, which grpcio's never does
            self._transport.abort()
        else:
            self._transport.close()

    def flush(self) -> None:
        """Writes what there is, as far as the peer takes it."""
        while self.writable and (chunks := self.machine.take()):
            self._transport.writelines(chunks)
        if self.machine.closed:
            self._transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._is_secured = transport.get_extra_info("ssl_object") is not None
        self._tick()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.machine.receive(data, self._loop.time()):
            self._on(event)
        self.flush()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable = False  # asyncio's TLS does not bear writes from here on, unlike its sockets
        fault = self.machine.fault
        self.machine.lose()
        self.writable = False  # for good: asyncio's TLS transport must not be written to any more
        if self._ticking is not None:
            self._ticking.cancel()
        why = str(fault) if fault is not None else f"the connection was lost: {exc}" if exc else "the connection ended"
        for call in list(self._calls.values()):
            call.end(of_code(Status.UNAVAILABLE, why))
        self._wake(len(self._waiting))
        self._lost(self)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.flush()
        self._look()

    # -- what the peer says

    def _on(self, event: Event) -> None:
        if isinstance(event, GoAway | Pong):
            return  # the machine knows; `is_leaving` tells
        call = self._calls.get(event.stream.id)
        if call is None:
            return
        match event:
            case Response(head=head, data=data, trailers=trailers):
                call.begin(head)
                call.feed(data)
                call.finish(trailers)
            case Headers(head=head, ended=ended):
                call.begin(head)
                if ended:
                    call.finish(head)
            case Data(data=data, ended=ended):
                call.feed(data)
                if ended:
                    call.finish(None)
            case Trailers(head=head):
                call.finish(head)
            case Reset():
                call.reset(event)

    def _look(self) -> None:
        """There may be room for those who wait, to send or to call."""
        self._wake(len(self._waiting) if self.is_leaving else self.machine.capacity)
        for call in list(self._calls.values()):
            call.wake_sender()

    def _wake(self, count: int) -> None:
        while self._waiting and count:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def _tick(self) -> None:
        due_s = self.machine.tick(self._loop.time())
        if not isinf(due_s):
            self._ticking = self._loop.call_later(TICK_S, self._tick)
        self.flush()
