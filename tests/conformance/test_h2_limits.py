"""HTTP/2's bounds in time and memory over real sockets, with limits short enough to be reached. In the clear and not.

What a peer may do at once is in test_hostile_peers.py, against the host as it is shipped.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference_host.transport import connections, h2, http1
from inference_host.transport.auth import Gate
from inference_host.transport.connections import Connections
from inference_host.transport.h2_heads import Reader
from inference_host.transport.http1_core import Response
from inference_host.transport.server import PROTOCOLS, Server
from mesh.identity import server_context
from tests import certificates
from tests.waiting import PATIENCE_S, until
from tests.wire.echo_host import SERVICE, Echo
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode, frames, hpack
from waypost.wire.frames import frame
from waypost.wire.messages import prefix

SHORT_S = 0.05
HELLO = frames.PREFACE + frame(frames.SETTINGS, 0, 0) + frame(frames.SETTINGS, frames.ACK, 0)
GRPC = [(b"te", b"trailers"), (b"content-type", b"application/grpc")]

Scenario = Callable[[int, Connections], Awaitable[None]]


def call(stream_id: int, method: bytes, body: bytes, *, end: bool = True) -> bytes:
    path = (b":path", SERVICE.encode() + b"/" + method)
    block = hpack.encode([(b":method", b"POST"), (b":scheme", b"http"), path, (b":authority", b"a"), *GRPC])
    flags = frames.END_STREAM if end else 0
    return frame(frames.HEADERS, frames.END_HEADERS, stream_id, block) + frame(frames.DATA, flags, stream_id, body)


def with_server(
    scenario: Scenario,
    limits: connections.Limits = connections.Limits(),  # noqa: B008
    context: ssl.SSLContext | None = None,
    **times: float,
) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as tasks:
            clock = asyncio.get_running_loop().time
            here, echo = Connections(limits, clock), Echo()
            wire = replace(h2.LIMITS, **times)  # type: ignore[arg-type]
            over_http2 = h2.Service(Reader(echo.methods(), log_all=False), Gate(None, "", clock), here, tasks, wire)
            over_http1 = http1.Service(echo.http, _refuse, http1.Limits(MESSAGE_BYTES_MAX), here)
            server = Server(
                here,
                http2=lambda full: h2.Connection(over_http2, full=full),
                http1=lambda full: http1.Connection(over_http1, full=full),
                tasks=tasks,
            )
            address = await server.listen("127.0.0.1:0", context)
            await scenario(int(address.rpartition(":")[2]), here)
            await server.drain(0.0)

    asyncio.run(main())


def _refuse(status: int, message: str) -> Response:
    return Response(status, [message.encode()])


async def heard_by(port: int, said: bytes) -> bytes:
    """All that a peer hears that says this and then nothing, until its connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    try:
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""
    finally:
        writer.transport.abort()


def cut(heard: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each frame."""
    while heard:
        size = int.from_bytes(heard[:3], "big")
        yield heard[3], heard[9 : 9 + size]
        heard = heard[9 + size :]


def goodbye(heard: bytes) -> tuple[ErrorCode, str]:
    """Code and reason of the last GOAWAY."""
    *_, last = (payload for kind, payload in cut(heard) if kind == frames.GOAWAY)
    return ErrorCode(int.from_bytes(last[4:8], "big")), last[8:].decode().partition(":")[0]


TOO_LONG: dict[str, tuple[bytes, dict[str, float], str]] = {
    "for its settings": (frames.PREFACE, {"handshake_s": SHORT_S}, "HANDSHAKE_TIMEOUT"),
    "to take note of ours": (
        frames.PREFACE + frame(frames.SETTINGS, 0, 0),
        {"handshake_s": SHORT_S},
        "HANDSHAKE_TIMEOUT",
    ),
    "in the middle of a frame": (
        HELLO + frame(frames.PING, 0, 0, bytes(8))[:12],
        {"stall_s": SHORT_S},
        "FRAME_TIMEOUT",
    ),
    "in the middle of a head": (HELLO + frame(frames.HEADERS, 0, 1, b"\x82"), {"stall_s": SHORT_S}, "FRAME_TIMEOUT"),
    "to answer a ping": (HELLO, {"keepalive_s": SHORT_S, "keepalive_timeout_s": SHORT_S}, "KEEPALIVE_TIMEOUT"),
}


@pytest.mark.parametrize("what", sorted(TOO_LONG))
def test_who_takes_too_long_is_told_and_let_go(what: str) -> None:
    said, times, reason = TOO_LONG[what]

    async def scenario(port: int, here: Connections) -> None:
        assert goodbye(await heard_by(port, said))[1] == reason
        await here.empty.wait()

    with_server(scenario, **times)


def test_a_connection_that_nobody_uses_ends_in_good_order() -> None:
    async def scenario(port: int, here: Connections) -> None:
        assert goodbye(await heard_by(port, HELLO))[0] == ErrorCode.NO_ERROR
        await here.empty.wait()

    with_server(scenario, idle_s=SHORT_S, drain_s=SHORT_S)


def test_beyond_the_memory_of_all_a_message_is_refused_and_small_ones_are_not() -> None:
    """One peer holds most of a message's memory; another one's does not fit beside it."""

    async def scenario(port: int, here: Connections) -> None:
        size = 300 << 10
        _, first = await asyncio.open_connection("127.0.0.1", port)
        first.write(HELLO + call(1, b"Unary", prefix(size) + bytes(200 << 10), end=False))
        await until(lambda: here.held_bytes, lambda held: held >= 200 << 10)
        reader, second = await asyncio.open_connection("127.0.0.1", port)
        second.write(HELLO + call(1, b"Unary", prefix(size) + bytes(200 << 10), end=False))
        second.write(call(3, b"Unary", prefix(5) + b"small"))
        heard = b""
        while b"small" not in heard:
            heard += await reader.read(1 << 16)
        statuses = [field.value for field in _fields(heard) if field.name == b"grpc-status"]
        assert statuses[0] != b"0"
        for writer in (first, second):
            writer.transport.abort()
        await here.empty.wait()
        assert here.held_bytes == 0

    with_server(scenario, connections.Limits(memory_bytes=350 << 10))


def _fields(heard: bytes) -> Iterator[hpack.Field]:
    decoder = hpack.Decoder()
    for kind, payload in cut(heard):
        if kind == frames.HEADERS:
            yield from decoder.decode(payload, 1 << 16) or ()


# -- TLS


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    return server_context(certificates.for_localhost(tmp_path), PROTOCOLS)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a greeting"])
def test_a_handshake_must_be_over_in_time(context: ssl.SSLContext, said: bytes) -> None:
    async def scenario(port: int, here: Connections) -> None:
        assert await heard_by(port, said) == b""
        await here.empty.wait()

    with_server(scenario, connections.Limits(greeting_s=SHORT_S), context)


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 1000,
        HELLO,
        b"\x16\x03\x01\xff\xff" + bytes(1000),
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["garbage", "http2 in the clear", "too long a record", "a greeting that lies", "http in the clear"],
)
def test_what_is_no_handshake_ends_its_connection(context: ssl.SSLContext, said: bytes) -> None:
    async def scenario(port: int, here: Connections) -> None:
        heard = await heard_by(port, said)
        assert heard[:1] in (b"", b"\x15")  # nothing, or an alert
        await here.empty.wait()

    with_server(scenario, context=context)


def test_garbage_behind_a_handshake_ends_its_connection(context: ssl.SSLContext, tmp_path: Path) -> None:
    async def scenario(port: int, here: Connections) -> None:
        ours = ssl.create_default_context(cafile=str(tmp_path / "roots.pem"))
        ours.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=ours)
        writer.write(frames.PREFACE + b"\xff" * 1000)
        assert goodbye(await reader.read())[0] in {ErrorCode.FRAME_SIZE_ERROR, ErrorCode.PROTOCOL_ERROR}
        writer.transport.abort()
        await here.empty.wait()

    with_server(scenario, context=context)
