"""The gRPC methods of a host as a table, for whatever front end serves them.

    face (oip_grpc, xapp_grpc, health)        gives Methods
    front end (h2, grpcio_front)              reads bytes, checks credentials, calls the behaviour, writes bytes

Unary methods are callbacks and not coroutines: a task and a future for each call would cost more than a small model
takes. `begin` gets the message and a `Reply`, and tells the reply exactly once, at once or later, always in the event
loop. `immediate` and `awaited` make one from a plain function or a coroutine function of typed messages, for methods
that are not called a thousand times a second. Streams live long, so each has a task: they are async generators.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar, cast

import structlog
from google.protobuf.message import DecodeError, Message

from inference_host.values.calls import Withdraw, as_mesh_error
from waypost.errors import Invalid, MeshError

log = structlog.get_logger()

Trailers: TypeAlias = Sequence[tuple[str, str]]
SERVER_TIMING = "server-timing"

Request = TypeVar("Request", bound=Message)


@dataclass(slots=True)
class Caller:
    """What a method may know of a call beside its message."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """ASCII metadata by lower-case key; of several values the last."""
    deadline: float | None = None
    """When nobody waits any more, on the event loop's clock; None: never."""
    trailers: Trailers = ()
    """Trailing metadata, for methods that do not tell a Reply themselves."""

    @property
    def authorization(self) -> str:
        """As it was checked; empty where there is none. auth.Gate.owner says whose it is."""
        return self.metadata.get("authorization", "")


class Reply(Protocol):
    """The one answer to a unary call."""

    def send(self, message: Sequence[bytes | memoryview], trailers: Trailers = (), timing: str = "") -> None:
        """The response message in parts, and trailing metadata: `trailers` are mostly the same object with every call,
        `timing` is the value of SERVER_TIMING, which never is."""

    def fail(self, error: MeshError) -> None: ...


@dataclass(frozen=True, slots=True)
class Unary:
    begin: Callable[[bytes | memoryview, Caller, Reply], Withdraw | None]
    """May raise instead of telling the reply. Returns how to withdraw, where the answer comes later."""
    settles: bool = False
    """Answers that come later are followed by DataPlane.settled: a front end need not see to it that they leave."""


@dataclass(frozen=True, slots=True)
class Streaming:
    run: Callable[[AsyncIterator[bytes], Caller], AsyncIterator[bytes]]
    """Requests to responses, until either ends. A MeshError that leaves it is the call's status."""


@dataclass(frozen=True, slots=True)
class Method:
    path: str
    """`/package.Service/Method`."""
    behaviour: Unary | Streaming
    open: bool = False
    """Answered without credentials."""
    quiet: bool = False
    """Called many times a second: one log line each would cost more than a small model. Counted instead."""


def immediate(kind: type[Request], answer: Callable[[Request, Caller], Message]) -> Unary:
    """A unary method whose answer is known at once."""

    def begin(body: bytes | memoryview, caller: Caller, reply: Reply) -> None:
        response = answer(parse(kind, body), caller)
        reply.send([response.SerializeToString()], caller.trailers)

    return Unary(begin)


def awaited(
    tasks: asyncio.TaskGroup, kind: type[Request], answer: Callable[[Request, Caller], Awaitable[Message]]
) -> Unary:
    """A unary method whose answer takes time, in a task of `tasks`. Withdrawing cancels it."""

    async def run(request: Request, caller: Caller, reply: Reply) -> None:
        try:
            response = await answer(request, caller)
        except Exception as error:  # the life of a call ends here
            reply.fail(as_mesh_error(error))
        else:
            reply.send([response.SerializeToString()], caller.trailers)

    def begin(body: bytes | memoryview, caller: Caller, reply: Reply) -> Withdraw:
        task: asyncio.Task[Any] = tasks.create_task(run(parse(kind, body), caller, reply), name="unary-call")
        return task.cancel

    return Unary(begin)


def generator(behaviour: Streaming, requests: AsyncIterator[bytes], caller: Caller) -> AsyncGenerator[bytes, None]:
    """A stream's answers; close it when the stream ends early, so that what it has under way ends too."""
    return cast(AsyncGenerator[bytes, None], behaviour.run(requests, caller))


def parse(kind: type[Request], body: bytes | memoryview) -> Request:
    """Raises: Invalid(BAD_MESSAGE)."""
    try:
        return kind.FromString(bytes(body))
    except DecodeError as error:
        raise Invalid("BAD_MESSAGE", f"the request is no {kind.DESCRIPTOR.full_name}: {error}") from error
