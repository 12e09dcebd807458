"""Streaming gRPC calls over HTTP/2: a task that runs the method's generator, at the pace of the slower side.

A peer's window opens as far as the method has read, and the method waits where the peer does not take its answers.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from inference_host.transport import encodings, h2_messages
from inference_host.transport.encodings import COMPRESS_BYTES_MIN, DECOMPRESS_INLINE_BYTES_MAX
from inference_host.transport.h2_calls import Call, answer_too_large, inflated
from inference_host.transport.h2_heads import HEADS, Ask, failure
from inference_host.transport.methods import Caller, Streaming, Trailers, generator
from inference_host.values.calls import as_mesh_error
from waypost.errors import Cancelled, DeadlineExceeded, Invalid, MeshError
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode, Stream
from waypost.wire.messages import PREFIX_BYTES, prefix

if TYPE_CHECKING:
    from inference_host.transport.h2 import Connection

UNSENT_BYTES_MAX = 256 << 10  # that a method may be ahead of its peer
TURN_MESSAGES_MAX = 16  # that a method which never waits may send before others get their turn


class StreamingCall(Call):
    """A method's generator, in a task. It iterates over the call itself: that gives the caller's messages."""

    _sent = 0
    _headed = False
    _ended = False
    """The caller has said everything."""
    _more: asyncio.Future[None] | None = None
    _room: asyncio.Future[None] | None = None
    _task: asyncio.Task[None] | None = None

    def __init__(self, connection: "Connection", stream: Stream, ask: Ask, now: float) -> None:
        super().__init__(connection, stream, ask, now)
        self._inbox = h2_messages.reader(MESSAGE_BYTES_MAX)

    def open(self) -> bool:
        try:
            self.check()
        except MeshError as error:
            self.fail(error)
            return False
        assert self.ask.streaming is not None
        self._task = self._connection.service.tasks.create_task(self._run(self.ask.streaming), name="grpc-stream")
        return True

    def feed(self, data: bytes, *, ended: bool) -> None:
        self._ended = self._ended or ended
        self._inbox.feed(data)
        _wake(self._more)
        try:
            self.hold_request(self._inbox.held_bytes)
        except MeshError as error:
            self.fail(error)
            self.lost()

    # -- the method

    async def _run(self, method: Streaming) -> None:
        try:
            trailers = await self._answer(method)
        except asyncio.CancelledError:
            self.fail(Cancelled("CANCELLED", "the call was cancelled"))
        except Exception as error:  # the life of a call ends here
            self.fail(as_mesh_error(error))
        else:
            self._finish(trailers)

    async def _answer(self, method: Streaming) -> Trailers:
        """Raises: whatever the method raises, DeadlineExceeded(TOO_LATE)."""
        caller = Caller(self.ask.metadata, self.deadline)
        try:
            async with asyncio.timeout_at(self.deadline) as patience:
                async with contextlib.aclosing(generator(method, self, caller)) as answers:
                    async for message in answers:
                        await self._send(message)
        except TimeoutError:
            if not patience.expired():
                raise
            raise DeadlineExceeded("TOO_LATE", "the deadline has passed", "allow more time") from None
        return caller.trailers

    def __aiter__(self) -> "StreamingCall":
        return self

    async def __anext__(self) -> bytes:
        """The caller's next message. Raises: MeshError."""
        while (found := h2_messages.next_message(self._inbox)) is None:
            self._acknowledge()
            if self._ended:
                h2_messages.finish(self._inbox)
                raise StopAsyncIteration
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        self._acknowledge()
        compressed, message = found
        if compressed and not self.ask.coding:
            raise Invalid("BAD_FRAMING", "a message is compressed, and grpc-encoding does not say how")
        return await self._inflated(message) if compressed else bytes(message)

    async def _inflated(self, message: bytes | memoryview) -> bytes:
        """Raises: MeshError."""
        if len(message) <= DECOMPRESS_INLINE_BYTES_MAX:
            return inflated(message, self.ask.coding)
        return await asyncio.to_thread(inflated, message, self.ask.coding)

    def _acknowledge(self) -> None:
        """The peer may send as much again as the method has used."""
        used, self._inbox.used = self._inbox.used, 0
        self.hold(self._inbox.held_bytes)
        if used:
            self._connection.machine.acknowledge(self.stream, used)
            self._connection.touch()

    async def _send(self, message: bytes) -> None:
        """Raises: Exhausted(ANSWER_TOO_LARGE)."""
        if len(message) > MESSAGE_BYTES_MAX:
            raise answer_too_large(len(message))
        compressed = bool(self.ask.coding) and len(message) >= COMPRESS_BYTES_MIN
        if compressed:
            message = await asyncio.to_thread(encodings.compressed, [message], self.ask.coding)
        machine = self._connection.machine
        if not self._headed:
            self._headed = True
            machine.send_headers(self.stream, HEADS[self.ask.coding])
        self._queued += len(message) + PREFIX_BYTES
        machine.send_data(self.stream, (prefix(len(message), compressed=compressed), message))
        self._connection.touch()
        self._sent += 1
        if not self._sent % TURN_MESSAGES_MAX:
            await asyncio.sleep(0)
        while self.stream.unsent > UNSENT_BYTES_MAX and not self._over:
            self._room = asyncio.get_running_loop().create_future()
            self._connection.sending(self)
            await self._room

    # -- the end

    def _finish(self, trailers: Trailers) -> None:
        if self._over:
            return
        self._over = True
        machine = self._connection.machine
        if not self._headed:
            machine.send_headers(self.stream, HEADS[""])
        machine.send_trailers(self.stream, self._connection.service.tails.block(trailers))
        self._connection.over(self)
        if self.ask.told:
            self.tell(None)

    def _end_with(self, error: MeshError) -> None:
        if self._headed:
            self._connection.machine.send_trailers(self.stream, failure(error, head_sent=True))
        else:
            super()._end_with(error)

    # -- its connection

    def tick(self, now: float) -> None:
        if self.too_slow(now):
            self.lost()
            self._connection.give_up(self, ErrorCode.CANCEL)

    def written(self) -> bool:
        if self.stream.unsent <= UNSENT_BYTES_MAX:
            _wake(self._room)
        return super().written()

    def lost(self) -> None:
        if not self._over:
            self._over = True
            self.tell(Cancelled("CANCELLED", "the caller went away"))
        if self._task is not None:
            self._task.cancel()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
