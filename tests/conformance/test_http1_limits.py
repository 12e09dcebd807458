"""The HTTP server's bounds over real sockets: those of them that a socket has a say in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from inference_host.transport import connections, http1
from inference_host.transport.connections import Connections
from inference_host.transport.http1 import LINGER_S, READ_AHEAD_BYTES, Connection
from inference_host.transport.http1_core import Answer, Request, Response
from inference_host.transport.server import Server
from inference_host.values.calls import Withdraw
from tests.waiting import PATIENCE_S, until

Scenario = Callable[[Server, int], Awaitable[None]]
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 64 << 20


def begin(request: Request, answer: Answer) -> Withdraw | None:
    """The path comes back; /large has a body that no socket buffers, /held is never answered."""
    if request.target == "/held":
        return lambda: None
    answer(Response(200, [bytes(LARGE) if request.target == "/large" else request.target.encode()]))
    return None


def refuse(status: int, message: str) -> Response:
    return Response(status, [message.encode()])


def with_server(scenario: Scenario, limits: connections.Limits = connections.Limits(), **times: float) -> None:  # noqa: B008
    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as tasks:
            here = Connections(limits, asyncio.get_running_loop().time)
            service = http1.Service(begin, refuse, http1.Limits(1 << 20, **times), here)  # type: ignore[arg-type]

            def speak(full: bool) -> Connection:
                return Connection(service, full=full)

            server = Server(here, http2=speak, http1=speak, tasks=tasks)
            address = await server.listen("127.0.0.1:0")
            await scenario(server, int(address.rpartition(":")[2]))
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


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(GET % 1)
            assert (await reader.read()).endswith(b"\r\n\r\n/1")

    with_server(scenario, idle_s=0.05)


def test_a_connection_that_says_nothing_is_closed() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer):
            writer.write(b"PR")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    with_server(scenario, connections.Limits(greeting_s=0.05))


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
            await server.connections.empty.wait()  # it gave us up

    with_server(scenario, write_s=0.05)


def test_one_connection_too_many_is_told_so() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (first, busy):
            busy.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(server.connections), lambda count: count == 1)
            async with client(port) as (second, writer):
                writer.write(GET % 1)
                assert (await second.readline()).startswith(b"HTTP/1.1 503 ")
            assert not first.at_eof()

    with_server(scenario, connections.Limits(connections=1))


def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (_, writer):
            writer.write(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(server.connections), lambda count: count == 1)
        await server.connections.empty.wait()

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
            await until(lambda: any(isinstance(each, Connection) for each in server.connections))
            (connection,) = server.connections
            assert isinstance(connection, Connection)
            await until(lambda: connection.read_ahead_bytes, lambda ahead: ahead > READ_AHEAD_BYTES)
            await asyncio.sleep(0.05)  # it could read on now, and must not
            assert connection.read_ahead_bytes < 8 * READ_AHEAD_BYTES

    with_server(scenario)


def test_a_request_that_is_coming_in_when_the_server_drains_is_answered() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, writer), asyncio.TaskGroup() as tasks:
            writer.write(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            await until(lambda: any(isinstance(each, Connection) for each in server.connections))
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


def test_a_connection_that_is_silent_when_the_server_drains_holds_nobody_up() -> None:
    async def scenario(server: Server, port: int) -> None:
        async with client(port) as (reader, _):
            await until(lambda: len(server.connections), lambda count: count == 1)
            async with asyncio.timeout(5):
                await server.drain(60.0)
            with contextlib.suppress(ConnectionError):
                await reader.read()

    with_server(scenario)
