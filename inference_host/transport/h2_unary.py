"""Unary gRPC calls over HTTP/2: callbacks from the first byte to the last, since there are thousands a second.

Nearly all come whole in one read, are small and not compressed, and so are their answers. What is otherwise goes a
longer way: pieces are gathered, compressed messages of some size are worked on aside, large answers wait their turn.
"""

import asyncio
from collections.abc import Sequence

from inference_host.transport import encodings, h2_messages
from inference_host.transport.encodings import (
    COMPRESS_BYTES_MIN,
    COMPRESS_INLINE_BYTES_MAX,
    DECOMPRESS_INLINE_BYTES_MAX,
)
from inference_host.transport.h2_calls import MESSAGE_S_MAX, Call, answer_too_large, inflated
from inference_host.transport.h2_heads import HEADS
from inference_host.transport.message_buffer import LARGE_BYTES
from inference_host.transport.methods import Caller, Trailers
from inference_host.values.calls import Withdraw, as_mesh_error
from waypost.errors import Cancelled, DeadlineExceeded, Exhausted, Invalid, MeshError
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode
from waypost.wire.messages import MessageReader, only_message, prefix

LATE_S = 1.0  # beyond its deadline a call ends whatever its method does; before, the method tells more about it
_HEAD = HEADS[""]


class UnaryCall(Call):
    """methods.Reply."""

    _messages: MessageReader | None = None
    _found: tuple[bool, bytes | memoryview] | None = None
    """The message, when it is whole before the request has ended."""
    _begun = False
    _withdraw: Withdraw | None = None

    # -- its request

    def open(self) -> bool:
        try:
            self.check()
        except MeshError as error:
            self.fail(error)
            return False
        return True

    def answer(self, data: bytes) -> None:
        """The whole request came at once."""
        message = only_message(data, LARGE_BYTES)
        try:
            self.check()
            if message is not None:
                self._begin(message)
            else:
                self._gather(data, ended=True)
        except MeshError as error:
            self.fail(error)

    def feed(self, data: bytes, *, ended: bool) -> None:
        if self._over:
            return
        try:
            self._gather(data, ended=ended)
        except MeshError as error:
            self.fail(error)

    @property
    def room(self) -> memoryview | None:
        """For the next bytes of a large message; see `gathered`."""
        gathering = self._messages.gathering if self._messages is not None else None
        return None if gathering is None else gathering.room

    def gathered(self, size: int, *, ended: bool) -> None:
        """So many bytes have been written to `room`."""
        assert self._messages is not None
        gathering = self._messages.gathering
        assert gathering is not None
        gathering.filled += size
        self.feed(b"", ended=ended)

    def _gather(self, data: bytes, *, ended: bool) -> None:
        """A message in pieces, or one that is not as usual. Raises: MeshError."""
        messages = self._messages = self._messages or h2_messages.reader(MESSAGE_BYTES_MAX)
        messages.feed(data)
        found = h2_messages.next_message(messages)
        if found is not None and self._found is not None:
            raise _not_one_message()
        self._found = found = found or self._found
        self.hold_request(messages.held_bytes + (len(found[1]) if found is not None else 0))
        if ended:
            h2_messages.finish(messages)
            if found is None:
                raise _not_one_message()
            self._messages = self._found = None
            self._expand(*found)

    def _expand(self, compressed: bool, message: bytes | memoryview) -> None:
        """Raises: MeshError."""
        if not compressed:
            self._begin(message)
        elif not self.ask.coding:
            raise Invalid("BAD_FRAMING", "a message is compressed, and grpc-encoding does not say how")
        elif len(message) <= DECOMPRESS_INLINE_BYTES_MAX:
            self._begin(inflated(message, self.ask.coding))
        else:
            task = self._connection.service.tasks.create_task(self._expand_aside(message), name="inflate")
            self._await_answer(task.cancel)

    async def _expand_aside(self, message: bytes | memoryview) -> None:
        try:
            body = await asyncio.to_thread(inflated, message, self.ask.coding)
        except MeshError as error:
            self.fail(error)
        else:
            self._withdraw = None
            if not self._over:
                self._begin(body)
        self._connection.touch()  # it may have been answered here, where nobody else will see to it

    def _begin(self, body: bytes | memoryview) -> None:
        ask = self.ask
        self._begun = True
        assert ask.begin is not None
        try:
            if self.held or len(body) >= LARGE_BYTES:
                self.hold_request(len(body))
            withdraw = ask.begin(body, Caller(ask.metadata, self.deadline), self)
        except Exception as error:  # the life of a call ends here
            self.fail(as_mesh_error(error))
            return
        if not self._over:
            self._await_answer(withdraw)

    def _await_answer(self, withdraw: Withdraw | None) -> None:
        self._withdraw = withdraw
        self._connection.calls[self.stream.id] = self

    # -- its answer: methods.Reply

    def send(self, message: Sequence[bytes | memoryview], trailers: Trailers = (), timing: str = "") -> None:
        if self._over:
            return
        self._withdraw = None
        size = len(message[0]) if len(message) == 1 else sum(map(len, message))
        if size >= LARGE_BYTES and (refusal := self._refuse_answer(size)) is not None:
            self.fail(refusal)
            return
        self._over = True
        connection = self._connection
        tail = connection.service.tails.block(trailers, timing)
        if size >= LARGE_BYTES or self.ask.coding:
            self._send_at_leisure(message, size, tail)
        else:
            self._queued = size
            connection.machine.reply(self.stream, _HEAD, (prefix(size), *message), tail)
            connection.over(self)
        if self.ask.told:
            self.tell(None)

    def _refuse_answer(self, size: int) -> MeshError | None:
        if size > MESSAGE_BYTES_MAX:
            return answer_too_large(size)
        if not self.hold(size):
            return Exhausted("OUT_OF_MEMORY", "the memory for answers on their way is taken", "take those first")
        return None

    def _send_at_leisure(self, message: Sequence[bytes | memoryview], size: int, tail: bytes) -> None:
        """A large answer waits for its turn, a compressed one is compressed first, where that is worth it."""
        connection = self._connection
        if not self.ask.coding or size < COMPRESS_BYTES_MIN:
            connection.later(self, size, lambda: self._reply(message, size, tail, compressed=False))
        elif size <= COMPRESS_INLINE_BYTES_MAX:
            self._send_packed([encodings.compressed(message, self.ask.coding)], tail)
        else:
            connection.service.tasks.create_task(self._compress_aside(message, tail), name="deflate")

    async def _compress_aside(self, message: Sequence[bytes | memoryview], tail: bytes) -> None:
        self._send_packed([await asyncio.to_thread(encodings.compressed, message, self.ask.coding)], tail)

    def _send_packed(self, packed: Sequence[bytes], tail: bytes) -> None:
        size = sum(map(len, packed))
        self._connection.later(self, size, lambda: self._reply(packed, size, tail, compressed=True))

    def _reply(self, parts: Sequence[bytes | memoryview], size: int, tail: bytes, *, compressed: bool) -> None:
        connection = self._connection
        self._queued = size
        head = HEADS[self.ask.coding if compressed else ""]
        connection.machine.reply(self.stream, head, (prefix(size, compressed=compressed), *parts), tail)
        connection.over(self)

    # -- its connection

    def tick(self, now: float) -> None:
        if self._over:
            if self.too_slow(now):
                self._connection.give_up(self, ErrorCode.CANCEL)
        elif not self._begun and now - self._began > MESSAGE_S_MAX:
            self.fail(DeadlineExceeded("SLOW_REQUEST", f"the message was not whole after {MESSAGE_S_MAX:g} s"))
        elif self.deadline is not None and now > self.deadline + LATE_S:
            self.withdraw()
            self.fail(DeadlineExceeded("TOO_LATE", "the deadline has passed", "allow more time"))

    def lost(self) -> None:
        if not self._over:
            self._over = True
            self.withdraw()
            self.tell(Cancelled("CANCELLED", "the caller went away"))

    def withdraw(self) -> None:
        if self._withdraw is not None:
            self._withdraw()
            self._withdraw = None


def _not_one_message() -> Invalid:
    return Invalid("BAD_FRAMING", "a unary call has exactly one whole message")
