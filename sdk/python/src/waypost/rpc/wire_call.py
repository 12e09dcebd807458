"""One call on a connection of `wire_channel`: messages out, messages in, and how it ended.

A call is over when the server has said its status, either side has reset it, its deadline has passed, or the connection
is gone. Messages that came before can still be received then; after them `receive` raises the error, or returns None.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from waypost.codes import Status
from waypost.errors import Exhausted, MeshError
from waypost.rpc.status import DETAILS_KEY, from_status, of_code
from waypost.rpc.target import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode, Head, Reset, Stream
from waypost.wire.grpc import CONTENT_TYPE, encoding_of, outcome
from waypost.wire.messages import IDENTITY, MessageReader, prefix, unpack
from waypost.wire.metadata import decode_binary
from waypost.wire.status import CallError, status_of_reset
from waypost.wire.streams import Chunk

if TYPE_CHECKING:
    from waypost.rpc.wire_channel import Connection

SEND_AHEAD_BYTES_MAX = 256 << 10  # of one call, beyond which `send` waits: what a kernel's socket buffer takes about
_DETAILS = DETAILS_KEY.encode()


class WireCall:
    """One task may send while another receives. stream: set by whoever opens it."""

    stream: Stream

    def __init__(self, connection: "Connection", deadline: float | None) -> None:
        """deadline: on the event loop's clock."""
        self.head: Head | None = None
        """Of the answer, when it has come: metadata.decode_metadata reads what the server put there."""
        self.trailers: Head | None = None
        self._connection = connection
        self._reader = MessageReader(MESSAGE_BYTES_MAX, _Gathered)
        self._encoding = IDENTITY
        self._over = False
        self._error: MeshError | None = None
        loop = self._loop = asyncio.get_running_loop()
        self._timer = None if deadline is None else loop.call_at(deadline, self._late)
        self._sending: asyncio.Future[None] | None = None
        self._receiving: asyncio.Future[None] | None = None

    # -- for its caller

    async def send(self, message: Chunk) -> None:
        """Waits while the server is slow. Raises: MeshError where the call is over."""
        self._check_open()
        self._connection.machine.send_data(self.stream, self.framed((message,)))
        self._connection.flush()
        while not self._over and (self.stream.unsent > SEND_AHEAD_BYTES_MAX or not self._connection.writable):
            self._sending = self._loop.create_future()
            await self._sending
        if self._error is not None:
            raise self._error

    def done_sending(self) -> None:
        """The server sees the end of our messages, and answers on."""
        if not self._over:
            self._connection.machine.send_data(self.stream, (), end=True)
            self._connection.flush()

    async def receive(self) -> Chunk | None:
        """The next message; None where the call went well to its end. Raises: MeshError."""
        while True:
            message = self._next()
            if message is not None:
                return message
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._receiving = self._loop.create_future()
            await self._receiving

    async def only_answer(self) -> Chunk:
        """The one message of a call that has one. Raises: MeshError."""
        message = await self.receive()
        if message is None or await self.receive() is not None:
            raise of_code(Status.UNIMPLEMENTED, "the answer has no message, or several, where one is expected")
        return message

    def cancel(self) -> None:
        """Ends it now, if it is not over: the server need do nothing more."""
        self.end(of_code(Status.CANCELLED, "the call was cancelled"))

    # -- for its connection

    @staticmethod
    def framed(messages: Sequence[Chunk]) -> list[Chunk]:
        """Raises: Exhausted(PAYLOAD_TOO_LARGE)."""
        for size in map(len, messages):
            if size > MESSAGE_BYTES_MAX:
                raise Exhausted(
                    "PAYLOAD_TOO_LARGE", f"the message has {size} bytes, at most {MESSAGE_BYTES_MAX} are sent"
                )
        return [part for message in messages for part in (prefix(len(message)), message)]

    def begin(self, head: Head) -> None:
        self.head = head
        self._encoding = encoding_of(head)
        if head.status != 200 or not (head.get(b"content-type") or b"").startswith(CONTENT_TYPE):
            self.end(_error_of(head))  # a proxy's page, perhaps: its body is no message of ours

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        _wake(self._receiving)

    def finish(self, head: Head | None) -> None:
        """head: with the status; None where the answer ended without one."""
        self.trailers = head
        self.end(of_code(Status.INTERNAL, "the answer ended without a status") if head is None else _error_of(head))

    def reset(self, event: Reset) -> None:
        who = "the server reset the call" if event.by_peer else f"the server broke HTTP/2: {event.reason}"
        self.end(of_code(status_of_reset(event.code), f"{who} (code {event.code})"))

    def end(self, error: MeshError | None) -> None:
        """The first end counts."""
        if self._over:
            return
        self._over, self._error = True, error
        if self._timer is not None:
            self._timer.cancel()
        self._connection.machine.reset(self.stream, ErrorCode.CANCEL)  # our half may still be open
        self._connection.over(self)
        _wake(self._receiving)
        _wake(self._sending)

    def wake_sender(self) -> None:
        if self.stream.unsent <= SEND_AHEAD_BYTES_MAX and self._connection.writable:
            _wake(self._sending)

    # -- in between

    def _check_open(self) -> None:
        if self._over:
            raise self._error or of_code(Status.CANCELLED, "the server has ended the call")

    def _next(self) -> Chunk | None:
        try:
            message = self._read()
        except CallError as error:
            self.end(None)
            self._error = of_code(error.status, error.message)
            raise self._error from error
        self._acknowledge()
        return message

    def _read(self) -> Chunk | None:
        """Raises: CallError."""
        found = self._reader.next()
        if found is None:
            if self._over and self._error is None:
                self._reader.finish()
            return None
        compressed, message = found
        return unpack(message, self._encoding, MESSAGE_BYTES_MAX) if compressed else message

    def _acknowledge(self) -> None:
        """The server may send as much again as was taken."""
        used, self._reader.used = self._reader.used, 0
        if used:
            self._connection.machine.acknowledge(self.stream, used)
            self._connection.flush()

    def _late(self) -> None:
        self.end(of_code(Status.DEADLINE_EXCEEDED, "the deadline has passed"))


class _Gathered:
    """A large message on its way. Its bytes are used as they come, so it may be larger than the stream's window."""

    def __init__(self, size: int) -> None:
        self._bytes = memoryview(bytearray(size))
        self.filled = 0

    def add(self, data: Chunk) -> int:
        taken = min(len(data), len(self._bytes) - self.filled)
        self._bytes[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        return taken

    @property
    def room(self) -> memoryview:
        return self._bytes[self.filled :]

    @property
    def complete(self) -> bool:
        return self.filled == len(self._bytes)

    def message(self) -> Chunk:
        return self._bytes.toreadonly()


def _error_of(head: Head) -> MeshError | None:
    status, message = outcome(head)
    if status is Status.OK:
        return None
    details = head.get(_DETAILS)
    if details is not None:
        try:
            return from_status(status_pb2.Status.FromString(decode_binary(details)))
        except (DecodeError, ValueError):
            pass  # a gateway's, perhaps: then the status must do
    return of_code(status, message)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
