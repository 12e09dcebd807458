"""A gRPC client for measuring: the SDK's own HTTP/2 (`waypost.wire`) over asyncio, with a callback per call.

A call costs it less than it costs the host, because it does less: no task, no future, one head for all calls, answers
handed on as bytes. What is unusual (answers in pieces, errors) takes a longer way.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from waypost.errors import Internal, MeshError, Unavailable
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.rpc.status import from_status
from waypost.wire import ClientConnection, Data, Event, Headers, Limits, Reset, Response, Stream, Trailers, grpc
from waypost.wire.fields import Pairs
from waypost.wire.heads import Head
from waypost.wire.messages import only_message, prefix
from waypost.wire.metadata import decode_binary
from waypost.wire.status import Status

CONNECT_S = 5.0
LIMITS = Limits(keepalive_s=0, idle_s=0)  # nobody ticks this connection: it lives as long as the measurement

ACKNOWLEDGE_BYTES_MIN = 8 << 10  # smaller answers are over before a window could close, and then count no more

Parts: TypeAlias = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """What every call of a method begins with."""

    head: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def at(cls, path: str) -> "Method":
        """path: `/package.Service/Method`."""
        return cls(grpc.request_head(path, "localhost"))


Told: TypeAlias = Callable[[bytes | MeshError], object]
"""Hears how a call ended: the message that answers it, or why there is none."""


def framed(message: bytes) -> Parts:
    """A request as it goes onto the wire; once for all calls that send it."""
    return (prefix(len(message)), message)


async def connect(address: str) -> "Client":
    """address: `host:port` or `unix:/path`. Raises: Unavailable(UNREACHABLE)."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            if address.startswith("unix:"):
                _, client = await loop.create_unix_connection(Client, address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                _, client = await loop.create_connection(Client, host.strip("[]"), int(port))
            await client.greeted()
    except (OSError, TimeoutError, ValueError) as error:
        why = str(error) or "no answer"
        raise Unavailable(
            "UNREACHABLE", f"nobody answers at {address}: {why}", "is the host running, and without TLS there?"
        ) from error
    return client


class Client(asyncio.Protocol):
    """One connection. Made in the event loop that uses it."""

    def __init__(self) -> None:
        self._wire = ClientConnection(LIMITS, now=monotonic())
        self._calls: dict[int, Told] = {}
        self._pieces: dict[int, list[bytes]] = {}
        self._reading = False
        self._greeted = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    @property
    def capacity(self) -> int:
        """How many more calls may be begun now."""
        return self._wire.capacity

    @property
    def closed(self) -> bool:
        return self._wire.closed or self._wire.draining

    def begin(self, method: Method, parts: Parts, told: Told, extra: Pairs = ()) -> None:
        """One call, where there is `capacity`. extra: fields that differ from call to call, the deadline above all."""
        stream = self._wire.request(method.head, parts, extra=extra)
        self._calls[stream.id] = told
        if not self._reading:
            self.flush()

    async def call(self, path: str, message: bytes) -> bytes:
        """One call that somebody waits for. Raises: MeshError."""
        answered: asyncio.Future[bytes | MeshError] = asyncio.get_running_loop().create_future()
        self.begin(Method.at(path), framed(message), answered.set_result)
        answer = await answered
        if isinstance(answer, MeshError):
            raise answer
        return answer

    async def greeted(self) -> None:
        """Returns when the other side has said that it speaks HTTP/2. Raises: ConnectionError."""
        await self._greeted

    def close(self) -> None:
        self._transport.close()

    def flush(self) -> None:
        while self._wire.wants_write:
            self._transport.writelines(self._wire.take())

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._reading = True  # what is begun meanwhile leaves together
        for event in self._wire.receive(data, monotonic()):
            self._on(event)
        self._reading = False
        self.flush()
        if self._wire.closed:
            self._transport.close()
        elif not self._greeted.done():
            self._greeted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionError("it does not speak HTTP/2"))
        self._wire.lose()
        lost = Unavailable("CONNECTION_LOST", "the connection ended during the call", "see the host's log")
        calls, self._calls = self._calls, {}
        for told in calls.values():
            told(lost)

    # -- events

    def _on(self, event: Event) -> None:
        if isinstance(event, Response):
            self._end(event.stream, event.trailers, event.data)
        elif isinstance(event, Headers):
            if event.ended:
                self._end(event.stream, event.head, b"")
        elif isinstance(event, Data):
            self._pieces.setdefault(event.stream.id, []).append(event.data)
            if len(event.data) >= ACKNOWLEDGE_BYTES_MIN:
                self._wire.acknowledge(event.stream, len(event.data))
        elif isinstance(event, Trailers):
            self._end(event.stream, event.head, b"".join(self._pieces.pop(event.stream.id, ())))
        elif isinstance(event, Reset):
            self._pieces.pop(event.stream.id, None)
            why = f"the call was reset with HTTP/2's code {event.code}"
            self._calls.pop(event.stream.id)(Unavailable("STREAM_RESET", why, "see the host's log"))

    def _end(self, stream: Stream, last: Head, body: bytes) -> None:
        told = self._calls.pop(stream.id)
        status, text = grpc.outcome(last)
        if status is not Status.OK:
            told(_error(status, text, last))
            return
        message = only_message(body, MESSAGE_BYTES_MAX)
        told(Internal("BAD_ANSWER", "the answer is not one message") if message is None else message)


def _error(status: Status, text: str, last: Head) -> MeshError:
    """In Waypost's words, where the other side has them."""
    found = status_pb2.Status(code=status, message=text)
    with contextlib.suppress(ValueError, DecodeError):
        found.MergeFromString(decode_binary(last.get(b"grpc-status-details-bin") or b""))
    return from_status(found)
