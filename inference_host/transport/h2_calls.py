"""gRPC calls on streams of HTTP/2: what a method gets, and what becomes of what it answers.

    UnaryCall       (h2_unary) a callback: it is the Reply that the method tells. Nothing waits, nothing is a task
    StreamingCall   (h2_streaming) a task that runs the method's generator, at the pace of the slower side
    Misdirected     no call at all, but somebody who should know better

A call belongs to its connection (h2), which gives it the stream's data and tells it when the peer gave up. How it ends
is said once: by the method, by a limit, by its deadline, or by the peer.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import structlog

from inference_host.transport import encodings
from inference_host.transport.h2_heads import Ask, failure
from inference_host.transport.message_buffer import LARGE_BYTES
from waypost.errors import Exhausted, MeshError
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode, Stream

if TYPE_CHECKING:
    from inference_host.transport.h2 import Connection

log = structlog.get_logger()

MESSAGE_S_MAX = 60.0  # from a request's head to its end, but of a stream: one megabyte a second for the largest
TAKE_S_MAX = 60.0  # in which a peer must take at least
TAKE_BYTES_MIN = 64 << 10  # of what waits for it

UNTOLD = frozenset({"OK", "CANCELLED", "UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""How quiet calls end without a log line: well, or as thousands a second do on a host that is overloaded."""


class Call(ABC):
    """What both kinds share. now: the event loop's clock when the head came.

    Most calls never need what has a default here: not setting it saves a tenth of what a call costs.
    """

    _over = False
    """The method has nothing more to say, or will not be heard."""
    held = 0
    """Bytes of its request or its answer that count; see `hold`."""
    _queued = 0
    """Bytes of the answer so far."""
    _taken: tuple[float, int] | None = None
    """Since when the peer has been taking bytes too slowly, and how many it had taken then."""

    def __init__(self, connection: "Connection", stream: Stream, ask: Ask, now: float) -> None:
        self._connection = connection
        self._began = now
        self.stream = stream
        self.ask = ask
        self.deadline = None if ask.timeout_s is None else now + ask.timeout_s

    @abstractmethod
    def open(self) -> bool:
        """The head came. Whether the body is wanted."""

    @abstractmethod
    def feed(self, data: bytes, *, ended: bool) -> None:
        """Some of the body."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Looks once a second at what has taken too long."""

    @abstractmethod
    def lost(self) -> None:
        """The peer gave up, or is gone."""

    def fail(self, error: MeshError) -> None:
        """The call's status. What is still coming of its request is not wanted."""
        if self._over:
            return
        self._over = True
        self._end_with(error)
        self._connection.over(self)
        self.tell(error)

    def _end_with(self, error: MeshError) -> None:
        self._connection.machine.send_headers(self.stream, failure(error), end=True)

    def check(self) -> None:
        """Raises: MeshError where the call is refused by its head alone."""
        if self.ask.refusal is not None:
            raise self.ask.refusal.with_traceback(None)  # it is remembered, and would grow by a traceback each time
        if not self.ask.open:
            self._connection.service.gate.check(self.ask.authorization)

    def hold(self, size: int) -> bool:
        """Counts what this call holds now of its request or its answer. Whether there is memory for it."""
        if size < LARGE_BYTES:
            size = 0
        growth, self.held = size - self.held, size
        return not growth or self._connection.service.connections.count(growth) or growth < 0

    def hold_request(self, size: int) -> None:
        """Raises: Exhausted(OUT_OF_MEMORY)."""
        if not self.hold(size):
            raise Exhausted("OUT_OF_MEMORY", "the memory for requests on their way is taken", "try again, or send less")

    def too_slow(self, now: float) -> bool:
        """Whether the peer leaves the answer lying: see TAKE_S_MAX."""
        taken = self._queued - self.stream.unsent
        if not self.stream.unsent:
            self._taken = None
        elif self._taken is None:
            self._taken = (now, taken)
        elif now - self._taken[0] > TAKE_S_MAX:
            if taken - self._taken[1] < TAKE_BYTES_MIN:
                return True
            self._taken = (now, taken)
        return False

    def written(self) -> bool:
        """Some of what was unsent may have left. Whether all of it has, and nothing more will come."""
        return self._over and not self.stream.unsent

    def tell(self, error: MeshError | None) -> None:
        """One log line for a call."""
        code = error.code.name if error is not None else "OK"
        if self.ask.told or code not in UNTOLD:
            took_ms = round((self._connection.clock() - self._began) * 1000, 1)
            log.info("rpc", method=self.ask.path, code=code, reason=error and error.reason, took_ms=took_ms)


class Misdirected(Call):
    """A request that is not gRPC. It is heard to its end, and told so."""

    def open(self) -> bool:
        return True

    def feed(self, data: bytes, *, ended: bool) -> None:
        assert self.ask.wrong is not None
        if ended and not self._over:
            self._over = True
            head, body = self.ask.wrong
            self._connection.machine.send_headers(self.stream, head)
            self._connection.machine.send_data(self.stream, [body], end=True)
            self._connection.over(self)

    def tick(self, now: float) -> None:
        if self.too_slow(now) or (not self._over and now - self._began > MESSAGE_S_MAX):
            self._connection.give_up(self, ErrorCode.CANCEL)

    def lost(self) -> None:
        self._over = True


def answer_too_large(size: int) -> Exhausted:
    message = f"the answer has {size} bytes, at most {MESSAGE_BYTES_MAX} are sent"
    return Exhausted("ANSWER_TOO_LARGE", message, "ask for fewer rows or outputs at once")


def inflated(message: bytes | memoryview, coding: str) -> bytes:
    """Raises: Invalid(BAD_ENCODING | BODY_TOO_LARGE)."""
    return encodings.decompressed(bytes(message), coding, MESSAGE_BYTES_MAX)
