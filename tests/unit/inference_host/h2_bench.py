"""An h2 connection and a peer of it, the wire machine in its other role: bytes are handed over, there is no socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from google.rpc import error_details_pb2, status_pb2

from inference_host.transport import connections, h2
from inference_host.transport.auth import Gate
from inference_host.transport.connections import Connections
from inference_host.transport.h2_heads import Reader
from inference_host.transport.methods import Caller, Method, Reply, Streaming, Unary
from inference_host.values.calls import Withdraw
from mesh.tokens import Verifier
from tests.unit.inference_host.transports import Transport, deliver
from tests.waiting import said, until
from waypost.wire import ClientConnection, Data, Event, GoAway, Headers, Limits, Reset, Response, Stream, Trailers, grpc
from waypost.wire.messages import prefix
from waypost.wire.metadata import decode_binary

PATIENCE_S = 10.0  # everything is in this process
FACTS = (("model", "affine/1"), ("server-timing", "total;dur=0.1"))


class Methods:
    """A table: /now echoes at once, /later when the test says so, /stream echoes message by message."""

    def __init__(self) -> None:
        self.waiting: list[tuple[bytes | memoryview, Caller, Reply]] = []
        self.withdrawn = 0
        self.pushed = 0
        """Messages that /push has sent."""
        self.ended = 0
        """Streams that are over, for whatever reason."""

    def table(self) -> list[Method]:
        return [
            Method("/now", Unary(self._now), quiet=True),
            Method("/later", Unary(self._later), quiet=True),
            Method("/settles", Unary(self._later, settles=True), quiet=True),
            Method("/settles/now", Unary(self._now, settles=True), quiet=True),
            Method("/fails", Unary(self._fails), quiet=True),
            Method("/open", Unary(self._now), open=True, quiet=True),
            Method("/stream", Streaming(self._stream), quiet=True),
            Method("/push", Streaming(self._push), quiet=True),
            Method("/deaf", Streaming(self._deaf), quiet=True),
        ]

    def _now(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        reply.send([body], FACTS)

    def _later(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> Withdraw:
        self.waiting.append((body, caller, reply))
        return self._withdraw

    def _fails(self, body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        raise ValueError("not for callers")

    def _withdraw(self) -> None:
        self.withdrawn += 1

    async def _stream(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                yield request
            caller.trailers = FACTS
        finally:
            self.ended += 1

    async def _push(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        size = int(await anext(aiter(requests)))
        try:
            while True:
                yield bytes(size)
                self.pushed += 1
        finally:
            self.ended += 1

    async def _deaf(self, requests: AsyncIterator[bytes], caller: Caller) -> AsyncIterator[bytes]:
        """Reads nothing and says nothing."""
        await asyncio.Event().wait()
        yield b""


class Call:
    """What the peer has heard of one of its calls."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.fields: dict[bytes, bytes] = {}
        self.http_status = 0
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.fields[b"grpc-status"])

    @property
    def messages(self) -> list[bytes]:
        found, rest = [], self.body
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found

    @property
    def reason(self) -> str:
        """Of the MeshError that came."""
        status = status_pb2.Status.FromString(decode_binary(self.fields[b"grpc-status-details-bin"]))
        info = error_details_pb2.ErrorInfo()
        status.details[0].Unpack(info)
        return info.reason


class Bench:
    """verifier: None lets everybody in. window: what the peer lets us send on a stream."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        verifier: Verifier | None = None,
        limits: connections.Limits | None = None,
        wire: Limits = h2.LIMITS,
        window: int = 4 << 20,
        full: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.methods = Methods()
        self.connections = Connections(limits or connections.Limits(), loop.time)
        gate = Gate(verifier, "uid", loop.time)
        self.service = h2.Service(Reader(self.methods.table(), log_all=False), gate, self.connections, tasks, wire)
        self.client = ClientConnection(Limits(stream_window_bytes=window), now=0.0)
        self.calls: dict[int, Call] = {}
        self.goaways: list[GoAway] = []
        self.reads = True
        """Whether the peer gives windows back."""
        self.connection = h2.Connection(self.service, full=full)
        self.connections.enter(self.connection)
        self.transport = Transport(self.connection)
        self._read = 0
        self.exchange()

    def exchange(self) -> None:
        """Both sides hear what the other has said, until both are silent."""
        while True:
            said = b"".join(self.client.take())
            if said and not self.transport.closing:
                deliver(self.connection, said)
            heard, self._read = bytes(self.transport.written[self._read :]), len(self.transport.written)
            if not said and not heard:
                break
            for event in self.client.receive(heard, 0.0):
                self._on(event)
        if self.client.closed:
            self.transport.close()  # as the peer's side of it

    def call(self, path: str, *parts: bytes, end: bool = True, metadata: Sequence[tuple[bytes, bytes]] = ()) -> Call:
        """Begins a call; says nothing yet."""
        pairs = grpc.request_head(path, "localhost", tuple(metadata))
        call = Call(self.client.request(pairs, parts, end=end))
        self.calls[call.stream.id] = call
        return call

    def ask(self, path: str, message: bytes = b"", *, metadata: Sequence[tuple[bytes, bytes]] = ()) -> Call:
        """A unary call, said; answered as far as the method does at once."""
        call = self.call(path, prefix(len(message)), message, metadata=metadata)
        self.exchange()
        return call

    async def until(self, true: Callable[[], bool]) -> None:
        """Lets tasks and threads run until it is so."""

        def look() -> bool:
            self.exchange()
            return true()

        await until(look, what=said(true), within_s=PATIENCE_S, every_s=0.001)

    async def turns(self, count: int = 20) -> None:
        """Lets tasks run."""
        for _ in range(count):
            await asyncio.sleep(0)
            self.exchange()

    def tick(self, after_s: float) -> None:
        """As if so much time had passed."""
        self.connection.tick(asyncio.get_running_loop().time() + after_s)
        self.exchange()

    def _on(self, event: Event) -> None:
        if isinstance(event, GoAway):
            self.goaways.append(event)
            return
        assert isinstance(event, Response | Headers | Data | Trailers | Reset)
        call = self.calls[event.stream.id]
        if isinstance(event, Response):
            call.http_status, call.body = event.head.status, event.data
            call.fields |= dict(fields_of(event.head)) | dict(fields_of(event.trailers))
            call.ended = True
        elif isinstance(event, Headers):
            call.http_status = event.head.status
            call.fields |= dict(fields_of(event.head))
            call.ended = event.ended
        elif isinstance(event, Data):
            call.body += event.data
            call.ended = event.ended
            if self.reads:
                self.client.acknowledge(event.stream, len(event.data))
        elif isinstance(event, Trailers):
            call.fields |= dict(fields_of(event.head))
            call.ended = True
        else:
            call.reset = event.code


def fields_of(head: Any) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in head.fields]


def run(scenario: Callable[[Bench], Coroutine[None, None, None]], **options: Any) -> None:
    """The scenario on a bench of its own; its connection is lost in the end, so that no task stays."""

    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as tasks:
            bench = Bench(tasks, **options)
            await scenario(bench)
            bench.transport.abort()

    asyncio.run(main())
