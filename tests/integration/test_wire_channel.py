"""Our own gRPC channel against grpcio's server, and against servers that are none."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mesh import identity
from tests import certificates
from waypost.errors import (
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    MeshError,
    NotFound,
    Precondition,
    Unavailable,
    Unsupported,
)
from waypost.rpc import MESSAGE_BYTES_MAX, grpc_code, to_status
from waypost.rpc.status import DETAILS_KEY
from waypost.rpc.wire_call import SEND_AHEAD_BYTES_MAX
from waypost.rpc.wire_channel import WireChannel

WITHIN_S = 20.0
UNARY, STREAM = "/test.Test/Unary", "/test.Test/Stream"
REFUSAL = NotFound("NO_SUCH_THING", "there is no thing", "make one", thing="t")


class Service(grpc.GenericRpcHandler):
    """Each method is a coroutine of the test's; messages are bytes."""

    def __init__(self) -> None:
        self.unary: Callable[[bytes, Any], Awaitable[bytes]] = self._echo
        self.stream: Callable[[Any], Awaitable[None]] = self._echo_all

    def service(self, details: Any) -> Any:
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(self._answering)
        if details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._streaming)
        return None

    async def _answering(self, request: bytes, context: Any) -> bytes:
        return await self.unary(request, context)

    async def _streaming(self, _: object, context: Any) -> None:
        await self.stream(context)

    async def _echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def _echo_all(self, context: Any) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            await context.write(message)


@contextlib.asynccontextmanager
async def serving(address: str, service: Service, **options: Any) -> AsyncIterator[grpc.aio.Server]:
    server = grpc.aio.server(
        handlers=[service],
        options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), *options.pop("options", ())],
        **options,
    )
    server.add_insecure_port(address)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)


def run(scenario: Callable[[Service, WireChannel], Awaitable[None]], directory: Path, **options: Any) -> None:
    async def main() -> None:
        address, service = f"unix:{directory}/s", Service()
        async with asyncio.timeout(WITHIN_S), serving(address, service, **options), WireChannel(address) as channel:
            await scenario(service, channel)

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_what_is_asked_is_answered_however_large(tmp_path: Path, size: int) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        request = os.urandom(size)
        for _round in range(3):
            assert bytes(await channel.unary(UNARY, request)) == request

    run(scenario, tmp_path)


def test_calls_at_once_share_one_connection_and_are_not_mixed_up(tmp_path: Path) -> None:
    peers = set()

    async def answer(request: bytes, context: Any) -> bytes:
        peers.add(context.peer())
        await asyncio.sleep(0)
        return request

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.unary = answer
        requests = [str(number).encode() for number in range(300)]
        assert await asyncio.gather(*(channel.unary(UNARY, request) for request in requests)) == requests
        assert len(peers) == 1

    run(scenario, tmp_path)


def test_a_server_that_takes_one_call_at_a_time_is_waited_for(tmp_path: Path) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        await channel.unary(UNARY, b"")  # by then its settings have come
        assert await asyncio.gather(*(channel.unary(UNARY, b"x") for _ in range(20))) == [b"x"] * 20

    run(scenario, tmp_path, options=[("grpc.max_concurrent_streams", 1)])


def test_errors_arrive_as_they_were_raised(tmp_path: Path) -> None:
    async def refuse(_: bytes, context: Any) -> bytes:
        details = ((DETAILS_KEY, to_status(REFUSAL).SerializeToString()),)
        await context.abort(grpc_code(REFUSAL.code), REFUSAL.message, details)
        raise AssertionError

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.unary = refuse
        with pytest.raises(NotFound) as caught:
            await channel.unary(UNARY, b"")
        error = caught.value
        assert (error.reason, error.hint, error.metadata) == ("NO_SUCH_THING", "make one", {"thing": "t"})
        with pytest.raises(Unsupported):
            await channel.unary("/test.Test/Unknown", b"")

    run(scenario, tmp_path)


def test_a_status_without_details_is_its_own_reason(tmp_path: Path) -> None:
    async def refuse(_: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nö")
        raise AssertionError

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.unary = refuse
        with pytest.raises(Precondition, match="nö") as caught:
            await channel.unary(UNARY, b"")
        assert caught.value.reason == "FAILED_PRECONDITION"

    run(scenario, tmp_path)


def test_a_deadline_is_told_to_the_server_and_kept(tmp_path: Path) -> None:
    left: list[float] = []
    ended = asyncio.Event()

    async def never(_: bytes, context: Any) -> bytes:
        left.append(context.time_remaining())
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.unary = never
        with pytest.raises(DeadlineExceeded):
            await channel.unary(UNARY, b"", timeout_s=0.2)
        await ended.wait()
        assert 0 < left[0] <= 0.2

    run(scenario, tmp_path)


def test_metadata_of_the_channel_and_of_the_call_reach_the_server(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    async def look(request: bytes, context: Any) -> bytes:
        seen.update(context.invocation_metadata())
        return request

    async def main() -> None:
        address, service = f"unix:{tmp_path}/s", Service()
        service.unary = look
        async with serving(address, service), WireChannel(address, metadata=[("authorization", "Bearer t")]) as channel:
            await channel.unary(UNARY, b"", metadata=[("thing", "t"), ("raw-bin", b"\0\1")])

    asyncio.run(main())
    assert (seen["authorization"], seen["thing"], seen["raw-bin"]) == ("Bearer t", "t", b"\0\1")


def test_compressed_answers_are_read(tmp_path: Path) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        assert bytes(await channel.unary(UNARY, b"a" * 200_000)) == b"a" * 200_000

    run(scenario, tmp_path, compression=grpc.Compression.Gzip)


def test_messages_go_both_ways_until_either_side_has_said_all(tmp_path: Path) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        call = await channel.stream(STREAM)
        for number in range(100):
            await call.send(b"%d" % number)
            assert await call.receive() == b"%d" % number
        call.done_sending()
        assert await call.receive() is None
        with pytest.raises(Cancelled):
            await call.send(b"more")

    run(scenario, tmp_path)


def test_messages_that_came_before_an_error_are_received_before_it(tmp_path: Path) -> None:
    async def say_two(context: Any) -> None:
        await context.write(b"one")
        await context.write(b"two")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "enough")

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.stream = say_two
        call = await channel.stream(STREAM)
        assert [await call.receive(), await call.receive()] == [b"one", b"two"]
        with pytest.raises(Unavailable, match="enough"):
            await call.receive()
        with pytest.raises(Unavailable, match="enough"):
            await call.send(b"")

    run(scenario, tmp_path)


def test_who_sends_to_a_server_that_does_not_read_waits(tmp_path: Path) -> None:
    reads = asyncio.Event()

    async def read_late(context: Any) -> None:
        await reads.wait()
        while await context.read() is not grpc.aio.EOF:
            pass

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.stream = read_late
        call = await channel.stream(STREAM)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 1000:
                async with asyncio.timeout(0.2):
                    await call.send(bytes(100_000))
                sent += 1
        assert sent < 1000
        assert call.stream.unsent < SEND_AHEAD_BYTES_MAX + 200_000
        reads.set()
        await call.send(b"again")
        call.done_sending()
        assert await call.receive() is None

    run(scenario, tmp_path)


def test_what_is_not_received_waits_at_the_server(tmp_path: Path) -> None:
    written = 0

    async def flood(context: Any) -> None:
        nonlocal written
        for _ in range(300):
            await context.write(bytes(100_000))
            written += 1

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.stream = flood
        call = await channel.stream(STREAM)
        assert await call.receive() is not None
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.1)
        assert written < 200  # the window of a stream has 4 MiB; grpc's own buffers come on top
        count = 1
        while await call.receive() is not None:
            count += 1
        assert count == 300

    run(scenario, tmp_path)


def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(context: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def scenario(service: Service, channel: WireChannel) -> None:
        service.stream = wait
        call = await channel.stream(STREAM)
        await began.wait()
        call.cancel()
        await ended.wait()
        with pytest.raises(Cancelled):
            await call.receive()

    run(scenario, tmp_path)


def test_a_server_that_comes_back_is_dialled_anew(tmp_path: Path) -> None:
    async def main() -> None:
        address = f"unix:{tmp_path}/s"
        async with asyncio.timeout(WITHIN_S), WireChannel(address) as channel:
            with pytest.raises(Unavailable, match="cannot connect"):
                await channel.unary(UNARY, b"")
            for _ in range(2):
                async with serving(address, Service()):
                    assert await channel.unary(UNARY, b"x") == b"x"
                    call = await channel.stream(STREAM)
                with pytest.raises(MeshError):
                    await call.receive()

    asyncio.run(main())


def test_a_server_that_leaves_ends_the_calls_it_has_and_gets_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        address = f"unix:{tmp_path}/s"
        async with asyncio.timeout(WITHIN_S), serving(address, Service()) as server, WireChannel(address) as channel:
            call = await channel.stream(STREAM)
            await call.send(b"x")
            assert await call.receive() == b"x"
            leaving = asyncio.ensure_future(server.stop(WITHIN_S))
            with contextlib.suppress(Unavailable, Cancelled, DeadlineExceeded):
                while True:  # grpcio ends a call that crosses its goodbye, or lets it lie
                    await channel.unary(UNARY, b"", timeout_s=1.0)
            await call.send(b"y")
            assert await call.receive() == b"y"
            call.done_sending()
            assert await call.receive() is None
            await leaving

    asyncio.run(main())


def test_a_closed_channel_ends_its_calls_and_takes_no_more(tmp_path: Path) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        call = await channel.stream(STREAM)
        await channel.close()
        with pytest.raises(Cancelled):
            await call.receive()
        with pytest.raises(Cancelled):
            await channel.unary(UNARY, b"")

    run(scenario, tmp_path)


def test_a_message_that_no_server_takes_is_not_sent(tmp_path: Path) -> None:
    async def scenario(_: Service, channel: WireChannel) -> None:
        with pytest.raises(Exhausted):
            await channel.unary(UNARY, bytes(MESSAGE_BYTES_MAX + 1))

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\0\0\0\4\0\0\0\0\0" + bytes(9)],
    ids=["HTTP/1.1", "nothing", "half a greeting"],
)
def test_a_server_that_does_not_speak_http2_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        writer.close()

    async def main() -> None:
        async with (
            asyncio.timeout(WITHIN_S),
            await asyncio.start_unix_server(speak, tmp_path / "s"),
            WireChannel(f"unix:{tmp_path}/s") as channel,
        ):
            with pytest.raises(Unavailable):
                await channel.unary(UNARY, b"")

    asyncio.run(main())


def tls(directory: Path, *protocols: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    server = identity.server_context(certificates.for_localhost(directory), protocols)
    client = ssl.create_default_context(cafile=str(directory / identity.ROOTS))
    client.set_alpn_protocols(["h2"])
    return server, client


def test_tls_is_spoken_with_names_checked(tmp_path: Path) -> None:
    _, client = tls(tmp_path, "h2")
    credentials = identity.Identity.load(tmp_path).server_credentials(mutual=False)

    async def main() -> None:
        server = grpc.aio.server(handlers=[Service()])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        async with WireChannel(f"localhost:{port}", tls=client) as named:
            assert await named.unary(UNARY, b"x") == b"x"
        async with WireChannel(f"127.0.0.1:{port}", tls=client, server_name="localhost") as told:
            assert await told.unary(UNARY, b"x") == b"x"
        async with WireChannel(f"127.0.0.1:{port}", tls=client) as wrong:
            with pytest.raises(Unavailable, match="certificate"):
                await wrong.unary(UNARY, b"x")
        await server.stop(0)

    asyncio.run(main())


def test_a_channel_whose_tls_connection_broke_is_closed_like_any_other(tmp_path: Path) -> None:
    context, client = tls(tmp_path, "h2")
    connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: connected.put_nowait(writer), "127.0.0.1", 0, ssl=context)
        async with server, WireChannel(f"localhost:{server.sockets[0].getsockname()[1]}", tls=client) as channel:
            call = await channel.stream(STREAM)
            (await connected.get()).transport.abort()
            with pytest.raises(Unavailable):
                await call.receive()

    asyncio.run(main())


def test_a_tls_server_that_was_not_asked_for_http2_is_unavailable(tmp_path: Path) -> None:
    context, client = tls(tmp_path, "http/1.1")

    async def main() -> None:
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            async with WireChannel(f"localhost:{port}", tls=client) as channel:
                with pytest.raises(Unavailable, match="does not speak HTTP/2"):
                    await channel.unary(UNARY, b"x")

    asyncio.run(main())


def test_a_channel_over_tls_may_be_closed_after_its_server_was_killed(tmp_path: Path) -> None:
    context, client = tls(tmp_path, "h2")

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async def main() -> None:
        async with await asyncio.start_server(cut, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            async with WireChannel(f"localhost:{port}", tls=client) as channel:
                call = await channel.stream(STREAM)
                with pytest.raises(Unavailable):
                    await call.receive()

    asyncio.run(main())
