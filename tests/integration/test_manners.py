"""What a call leaves behind in the process that answered it."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import grpc
import grpc.aio
import pytest
import structlog
from google.protobuf.message import DecodeError

from mesh import serve
from mesh.identity import Identity
from waypost.errors import NotFound

SENT = b"a request"


class Request:
    """What a call carries; it can be watched."""

    seen: ClassVar[weakref.WeakSet["Request"]] = weakref.WeakSet()

    def __init__(self) -> None:
        Request.seen.add(self)

    @staticmethod
    def read(content: bytes) -> "Request":
        request = Request()
        if content != SENT:
            raise DecodeError("truncated")
        return request


async def answers(_request: Request, _context: Any) -> bytes:
    return b"an answer"


async def refuses(_request: Request, _context: Any) -> bytes:
    raise NotFound("POSITION_NOT_FOUND", "there is none")


async def fails(_request: Request, _context: Any) -> bytes:
    raise ZeroDivisionError


async def aborts(_request: Request, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
    return b"never"


async def tells(_request: Request, _context: Any) -> AsyncIterator[bytes]:
    yield b"the first"


async def tells_and_refuses(_request: Request, _context: Any) -> AsyncIterator[bytes]:
    yield b"the first"
    raise NotFound("POSITION_NOT_FOUND", "there is none")


async def tells_and_aborts(_request: Request, context: Any) -> AsyncIterator[bytes]:
    yield b"the first"
    await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


async def called(directory: Path, handler: Any, sent: bytes) -> str:
    """The code that a caller gets."""
    server = serve.grpc_server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Service", {"Call": handler})])
    address = serve.listen(server, f"unix:{directory / 's'}", Identity.local())
    await server.start()
    code = "OK"
    async with grpc.aio.insecure_channel(address) as channel:
        kind: Any = channel.unary_stream if handler.response_streaming else channel.unary_unary
        call = kind("/test.Service/Call")(sent)
        try:
            async with asyncio.timeout(10):
                if handler.response_streaming:
                    async for _ in call:
                        pass
                else:
                    await call
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        assert call.done()
    await server.stop(None)
    return code


@pytest.fixture
def plain_tracebacks() -> Iterator[None]:
    """As servers write them: what structlog draws by itself keeps the frames that it has drawn."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("plain_tracebacks")
@pytest.mark.parametrize(
    ("behaviour", "sent", "code"),
    [
        (answers, SENT, "OK"),
        (refuses, SENT, "NOT_FOUND"),
        (fails, SENT, "INTERNAL"),
        (aborts, SENT, "NOT_FOUND"),
        (answers, b"something else", "INVALID_ARGUMENT"),
        (tells, SENT, "OK"),
        (tells_and_refuses, SENT, "NOT_FOUND"),
        (tells_and_aborts, SENT, "NOT_FOUND"),
    ],
)
def test_what_a_call_carried_goes_with_it(
    tmp_path: Path, behaviour: Callable[..., Awaitable[bytes]], sent: bytes, code: str
) -> None:
    """Not with the next look of the garbage collector: what strangers send would fill the memory until then."""
    streams = behaviour.__name__.startswith("tells")
    kind = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
    handler = kind(behaviour, Request.read, bytes)
    with no_collector():
        assert asyncio.run(called(tmp_path, handler, sent)) == code
        assert list(Request.seen) == []
