"""The bounds of the HTTP server: time to idle, to ask, to take an answer; connections; reading ahead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from inference_host.http1 import LINGER_S, READ_AHEAD_BYTES, Limits, Request, Response, Server

Scenario = Callable[[Server, int], Awaitable[None]]
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENCE_S = 10.0
LARGE = 64 << 20


async def respond(request: Request) -> Response:
    """The path comes back; /large has a body that no socket buffers, /held is never answered."""
    if request.target == "/held":
        await asyncio.Event().wait()
    body = bytes(LARGE) if request.target == "/large" else request.target.encode()
    return Response(200, [body])


def refuse(status: int, message: str) -> Response:
    return Response(status, [message.encode()])


def with_server(scenario: Scenario, **limits: float) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            server = Server(respond, refuse, Limits(1 << 20, **limits), tasks)  # type: ignore[arg-type]
            port = await server.listen_tcp("127.0.0.1", 0)
            await scenario(server, port)
            await server.drain(0.0)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def client(port: int, limit: int = 1 << 16) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def until(true: Callable[[], bool]) -> None:
    """Lets others run until it is so."""
    for _ in range(100_000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(GET % 1)
            assert (await reader.read()).endswith(b"\r\n\r\n/1")

    with_server(scenario, idle_s=0.05)


def test_a_request_must_come_whole_in_time() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(b"GET / HT")
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")

    with_server(scenario, request_s=0.05)


def test_a_client_must_take_its_answer_in_time() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port, limit=1024) as (reader, writer):
            writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readline()
            await server.empty.wait()  # it gave us up

    with_server(scenario, write_s=0.05)


def test_one_connection_too_many_is_told_so() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (first, writer):
            writer.write(GET % 1)
            await first.readline()
            async with client(port) as (second, _):
                assert (await second.readline()).startswith(b"HTTP/1.1 503 ")

    with_server(scenario, connections=1)


def test_a_client_that_goes_away_cancels_its_call() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (_, writer):
            writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: bool(server.connections))
        await server.empty.wait()

    with_server(scenario)


def test_a_client_that_sends_on_still_reads_why_it_was_refused() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n" + bytes(4_000_000))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")

    with_server(scenario)


def test_pipelined_calls_are_read_ahead_only_so_far() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (_, writer):
            writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n" + GET % 1 * (READ_AHEAD_BYTES // 3))
            await until(lambda: bool(server.connections))
            (connection,) = server.connections
            await until(lambda: connection.read_ahead_bytes > READ_AHEAD_BYTES)
            await asyncio.sleep(0.05)  # it could read on now, and must not
            assert connection.read_ahead_bytes < 8 * READ_AHEAD_BYTES

    with_server(scenario)


def test_a_request_that_is_coming_in_when_the_server_drains_is_answered() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            await until(lambda: bool(server.connections))
            tasks.create_task(server.drain(5.0))
            await asyncio.sleep(2 * LINGER_S)
            writer.write(b"b")
            assert (await reader.read()).endswith(b"\r\n\r\n/p")

    with_server(scenario)


def test_a_request_that_was_on_its_way_when_the_server_drains_is_answered() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(GET % 1)
            await reader.readuntil(b"\r\n\r\n/1")
            tasks.create_task(server.drain(5.0))
            await asyncio.sleep(0)
            writer.write(GET % 2)
            answer = await reader.read()
            assert answer.endswith(b"\r\n\r\n/2")
            assert b"connection: close" in answer

    with_server(scenario)
