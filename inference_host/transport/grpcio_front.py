"""The method table under grpc.aio: the other front end, on an address of its own, off unless asked for.

For callers who want grpcio's own HTTP/2, and to hold our own (h2) against: both pass one conformance suite. A call
costs several times as much here, most of it in grpc.aio's hand-overs between threads.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio

from inference_host.transport.auth import Gate
from inference_host.transport.methods import SERVER_TIMING, Caller, Method, Streaming, Trailers, Unary, generator
from mesh import serve
from waypost.errors import MeshError

Handler: TypeAlias = Any
"""grpc.RpcMethodHandler, which is generic in its stubs only."""

LINGER_S = 0.2  # longer than any packet is on its way between a gateway and us


def server(methods: Sequence[Method], gate: Gate) -> grpc.aio.Server:
    """A server that answers `methods`; listen and start it."""
    table = {method.path: method for method in methods}

    async def authorise(path: str, context: Any, request: Any) -> None:
        if not table[path].open:
            gate.check(_metadata(context).get("authorization", ""))

    made = serve.grpc_server(authorise=authorise, quiet=frozenset(method.path for method in methods if method.quiet))
    made.add_generic_rpc_handlers((_Handlers({path: _handler(method) for path, method in table.items()}),))
    return made


async def drain(server: grpc.aio.Server, grace_s: float) -> None:
    """Calls that are on their way when a grpc.aio server stops hear CANCELLED, which nobody may repeat. So it stops a
    moment later: until then they are let in, and hear from their methods that the host is draining."""
    await asyncio.sleep(min(LINGER_S, grace_s))
    await server.stop(grace_s)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        return self._handlers.get(handler_call_details.method)


class _Reply:
    """methods.Reply over a future."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[tuple[bytes, Trailers]] = asyncio.get_running_loop().create_future()

    def send(self, message: Sequence[bytes | memoryview], trailers: Trailers = (), timing: str = "") -> None:
        if not self.future.done():
            told = [(SERVER_TIMING, timing)] if timing else []
            self.future.set_result((b"".join(message), (*trailers, *told)))

    def fail(self, error: MeshError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def _handler(method: Method) -> Handler:
    """Bytes in, bytes out: messages are the table's matter."""
    if isinstance(method.behaviour, Unary):
        return grpc.unary_unary_rpc_method_handler(_unary(method.behaviour), None, None)
    return grpc.stream_stream_rpc_method_handler(_streaming(method.behaviour), None, None)


def _unary(behaviour: Unary) -> Callable[[bytes, Any], Any]:
    async def call(body: bytes, context: Any) -> bytes:
        reply = _Reply()
        withdraw = behaviour.begin(body, _caller(context), reply)
        try:
            message, trailers = await reply.future
        except asyncio.CancelledError:
            if withdraw is not None:
                withdraw()
            raise
        context.set_trailing_metadata(tuple(trailers))
        return message

    return call


def _streaming(behaviour: Streaming) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
    async def call(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        caller = _caller(context)
        async with contextlib.aclosing(generator(behaviour, requests, caller)) as answers:
            async for message in answers:
                yield message
        context.set_trailing_metadata(tuple(caller.trailers))

    return call


def _caller(context: Any) -> Caller:
    left_s = context.time_remaining()
    deadline = None if left_s is None else asyncio.get_running_loop().time() + left_s
    return Caller(_metadata(context), deadline)


def _metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
