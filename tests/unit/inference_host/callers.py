"""Callers of the faces, for tests: what a front end does, without a wire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from inference_host.faces import oip_grpc
from inference_host.serving.dataplane import DataPlane, Place
from inference_host.serving.execution import Execution
from inference_host.serving.served import Served
from inference_host.transport.auth import Gate
from inference_host.transport.methods import SERVER_TIMING, Caller, Method, Streaming, Trailers, Unary
from inference_host.values.calls import Withdraw
from tests.unit.inference_host import planes
from waypost.errors import MeshError

OPEN = Gate(None, "", lambda: 0.0)
"""Lets everybody in, and knows nobody."""


@dataclass
class Told:
    """A Reply that keeps what it is told, once."""

    message: bytes = b""
    trailers: Trailers = ()
    error: MeshError | None = None
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    withdraw: Withdraw | None = None

    def send(self, message: Sequence[bytes | memoryview], trailers: Trailers = (), timing: str = "") -> None:
        assert not self.heard.is_set(), "a reply is told once"
        self.message = b"".join(message)
        self.trailers = [*trailers, (SERVER_TIMING, timing)] if timing else trailers
        self.heard.set()

    def fail(self, error: MeshError) -> None:
        assert not self.heard.is_set(), "a reply is told once"
        self.error = error
        self.heard.set()


def behaviour(methods: Sequence[Method], name: str) -> Unary | Streaming:
    """What stands under `name`, the last part of a path."""
    (found,) = [method.behaviour for method in methods if method.path.rpartition("/")[2] == name]
    return found


def begin(methods: Sequence[Method], name: str, request: Message | bytes, caller: Caller | None = None) -> Told:
    """A unary call, begun; it is told when it is answered."""
    unary = behaviour(methods, name)
    assert isinstance(unary, Unary)
    told = Told()
    body = request if isinstance(request, bytes) else request.SerializeToString()
    try:
        told.withdraw = unary.begin(body, caller or Caller(), told)
    except MeshError as error:
        told.fail(error)
    return told


async def ask(methods: Sequence[Method], name: str, request: Message | bytes, caller: Caller | None = None) -> Told:
    """A unary call and its answer."""
    told = begin(methods, name, request, caller)
    await told.heard.wait()
    return told


async def once(*requests: Message | bytes) -> AsyncIterator[bytes]:
    """The requests of a stream, all at once, and its end."""
    for request in requests:
        yield request if isinstance(request, bytes) else request.SerializeToString()


def with_plane(
    scenario: Callable[[DataPlane, asyncio.TaskGroup], Awaitable[Any]],
    model: Served | Sequence[Served] | None = None,
    place: Place = planes.PLACE,
) -> Any:
    """What a scenario returns that has a data plane, and a place for tasks."""

    async def main() -> Any:
        async with Execution(1) as execution, asyncio.TaskGroup() as tasks:
            clock = asyncio.get_running_loop().time
            plane = planes.plane(model or planes.served(), execution, clock, place)
            return await scenario(plane, tasks)

    return asyncio.run(main())


def over_grpc(
    scenario: Callable[[oip_grpc.Face], Awaitable[Any]],
    model: Served | Sequence[Served] | None = None,
    place: Place = planes.PLACE,
) -> Any:
    """The same with the gRPC face."""
    return with_plane(lambda plane, tasks: scenario(oip_grpc.Face(plane, OPEN, "1.2.3", tasks)), model, place)
