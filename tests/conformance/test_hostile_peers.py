"""Peers that mean no good, over real sockets: each ends its own connection with the right code, or its own stream.

All the while a neighbour on a connection of its own goes on calling, and every one of its calls is answered.
"""

import contextlib
import gzip
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from struct import pack

import pytest

from tests.conformance.hosts import RunningHost
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.rpc import MESSAGE_BYTES_MAX
from waypost.wire import ErrorCode, frames, hpack
from waypost.wire.frames import frame
from waypost.wire.messages import prefix
from waypost.wire.status import Status

pytestmark = pytest.mark.usefixtures("neighbour")
PATIENCE_S = 20.0
INFER = b"/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = b"/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = b"/inference.GRPCInferenceService/ServerLive"


def head(path: bytes = LIVE, *more: tuple[bytes, bytes]) -> bytes:
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    return hpack.encode([*fields, (b"te", b"trailers"), (b"content-type", b"application/grpc"), *more])


def opening(stream_id: int, block: bytes | None = None, flags: int = frames.END_HEADERS) -> bytes:
    return frame(frames.HEADERS, flags, stream_id, head() if block is None else block)


def call(stream_id: int, path: bytes = LIVE, body: bytes = prefix(0)) -> bytes:
    return opening(stream_id, head(path)) + frame(frames.DATA, frames.END_STREAM, stream_id, body)


def streams(count: int) -> Iterable[int]:
    return range(1, 2 * count, 2)


class Peer:
    """Speaks bytes, hears frames."""

    def __init__(self, address: str, settings: bytes = b"") -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self._heard = b""
        self.say(frames.PREFACE + frame(frames.SETTINGS, 0, 0, settings))

    def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # it may have been ended already: what was said before is to be read
            self._socket.sendall(data)

    def hear(self) -> Iterator[tuple[int, int, int, bytes]]:
        """(type, flags, stream id, payload), to the connection's end."""
        while True:
            while len(self._heard) >= 9 and len(self._heard) >= 9 + int.from_bytes(self._heard[:3], "big"):
                size = int.from_bytes(self._heard[:3], "big")
                one, self._heard = self._heard[: 9 + size], self._heard[9 + size :]
                yield one[3], one[4], int.from_bytes(one[5:9], "big"), one[9:]
            try:
                more = self._socket.recv(1 << 16)
            except ConnectionError:
                return
            if not more:
                return
            self._heard += more

    def goaway(self) -> tuple[ErrorCode, str]:
        """Code and reason of the connection's end."""
        for kind, _, _, payload in self.hear():
            if kind == frames.GOAWAY and int.from_bytes(payload[4:8], "big"):
                return ErrorCode(int.from_bytes(payload[4:8], "big")), payload[8:].decode().partition(":")[0]
        raise AssertionError("the connection ended without a word")

    def reset_of(self, stream_id: int) -> ErrorCode:
        for kind, _, about, payload in self.hear():
            if (kind, about) == (frames.RST_STREAM, stream_id):
                return ErrorCode(int.from_bytes(payload, "big"))
        raise AssertionError("the connection ended")

    def status_of(self, stream_id: int) -> Status:
        """With which a call ended."""
        decoder = hpack.Decoder()
        for kind, _, about, payload in self.hear():
            if kind == frames.HEADERS:
                fields = {field.name: field.value for field in decoder.decode(payload, 1 << 16) or ()}
                if about == stream_id and b"grpc-status" in fields:
                    return Status(int(fields[b"grpc-status"]))
        raise AssertionError("the connection ended")

    def answered(self, *stream_ids: int) -> bool:
        """Whether each of the streams gets a head."""
        waiting = set(stream_ids)
        for kind, _, about, _ in self.hear():
            if kind == frames.HEADERS:
                waiting.discard(about)
            if not waiting:
                return True
        return False

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


@pytest.fixture
def peer(repository: RunningHost) -> Iterator[Peer]:
    with Peer(repository.address) as made:
        yield made
    assert repository.process.poll() is None


def ping(number: int) -> bytes:
    return frame(frames.PING, 0, 0, pack(">Q", number))


FLOODS: dict[str, Callable[[], bytes]] = {
    "TOO_MANY_SETTINGS": lambda: frame(frames.SETTINGS, 0, 0) * 2000,
    "TOO_MANY_PINGS": lambda: b"".join(map(ping, range(5000))),
    "TOO_MANY_RESETS": lambda: b"".join(
        opening(stream_id) + frames.rst_stream(stream_id, ErrorCode.CANCEL) for stream_id in streams(5000)
    ),
    "TOO_MANY_STREAM_ERRORS": lambda: b"".join(
        opening(stream_id, head() + b"\x00\x05Upper\x01x") for stream_id in streams(5000)
    ),
    "TOO_MANY_PRIORITIES": lambda: frame(frames.PRIORITY, 0, 1, bytes(5)) * 20_000,
    "TOO_MANY_EMPTY_FRAMES": lambda: opening(1) + frame(frames.DATA, 0, 1) * 20_000,
    "TOO_MANY_WINDOW_UPDATES": lambda: frames.window_update(0, 1) * 20_000,
    "TOO_MANY_OTHER_FRAMES": lambda: frame(0xBE, 0, 0) * 20_000,
    "TOO_MANY_CONTINUATIONS": lambda: opening(1, b"\x82", 0) + frame(frames.CONTINUATION, 0, 1, b"\x86") * 2000,
    "HEADER_BLOCK_TOO_LARGE": lambda: (
        opening(1, bytes(16_000), 0) + frame(frames.CONTINUATION, 0, 1, bytes(16_000)) * 6
    ),
}


@pytest.mark.parametrize("reason", sorted(FLOODS))
def test_a_flood_ends_its_connection(peer: Peer, reason: str) -> None:
    peer.say(FLOODS[reason]())
    assert peer.goaway() == (ErrorCode.ENHANCE_YOUR_CALM, reason)


BREACHES: dict[str, tuple[bytes, ErrorCode]] = {
    "a window that overflows": (frames.window_update(0, (1 << 31) - 1), ErrorCode.FLOW_CONTROL_ERROR),
    "a table index that is not there": (opening(1, b"\xff\xff\x7f"), ErrorCode.COMPRESSION_ERROR),
    "a table that is too large": (opening(1, b"\x3f\xe1\xff\xff\x07"), ErrorCode.COMPRESSION_ERROR),
    "a frame that is too large": (b"\xff\xff\xff\x00\x00" + pack(">I", 1), ErrorCode.FRAME_SIZE_ERROR),
    "data on no stream": (frame(frames.DATA, 0, 7, b"x"), ErrorCode.PROTOCOL_ERROR),
    "an even stream": (opening(2), ErrorCode.PROTOCOL_ERROR),
    "a stream that goes back": (call(5) + call(3), ErrorCode.PROTOCOL_ERROR),
    "a push": (frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a block that is interrupted": (
        opening(1, b"\x82", 0) + frame(frames.PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("what", sorted(BREACHES))
def test_a_breach_of_the_protocol_ends_its_connection(peer: Peer, what: str) -> None:
    said, code = BREACHES[what]
    peer.say(said)
    assert peer.goaway()[0] == code


def test_data_beyond_the_window_ends_its_connection(peer: Peer) -> None:
    peer.say(opening(1) + frame(frames.DATA, 0, 1, bytes(1 << 14)) * 4000)
    assert peer.goaway()[0] in {ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.STREAM_CLOSED}


def test_garbage_behind_the_preface_ends_its_connection(peer: Peer) -> None:
    peer.say(b"\xff" * 1000)
    assert peer.goaway()[0] in {ErrorCode.FRAME_SIZE_ERROR, ErrorCode.PROTOCOL_ERROR}


def test_headers_that_unpack_to_a_flood_cost_their_stream_only(peer: Peer) -> None:
    """One field of 4 KB goes into the table and is named ten thousand times (the HPACK bomb, CVE-2016-1544)."""
    field = b"\x40" + b"\x01x" + b"\x7f" + hpack.encode_integer(3900 - 0x7F, 0, 0)[1:] + b"v" * 3900
    peer.say(opening(1, head() + field) + frame(frames.DATA, frames.END_STREAM, 1, prefix(0)))
    assert peer.answered(1)
    peer.say(opening(3, head() + b"\xbe" * 10_000) + call(5))
    assert peer.reset_of(3) == ErrorCode.ENHANCE_YOUR_CALM
    assert peer.answered(5)


def test_streams_beyond_the_limit_are_refused_and_the_connection_lives(peer: Peer) -> None:
    peer.say(b"".join(map(opening, streams(300))))
    assert peer.reset_of(599) == ErrorCode.REFUSED_STREAM
    peer.say(frames.rst_stream(1, ErrorCode.CANCEL) + call(601))
    assert peer.answered(601)


def test_a_message_that_says_it_is_endless_is_refused_before_it_comes(peer: Peer) -> None:
    peer.say(opening(1, head(INFER)) + frame(frames.DATA, 0, 1, prefix(MESSAGE_BYTES_MAX + 1)))
    assert peer.answered(1)


def in_pieces(stream_id: int, message: bytes) -> bytes:
    """DATA frames of a size that every peer may send."""
    pieces = [message[start : start + (1 << 14)] for start in range(0, len(message), 1 << 14)]
    ends = [0] * (len(pieces) - 1) + [frames.END_STREAM]
    return b"".join(frame(frames.DATA, end, stream_id, piece) for end, piece in zip(ends, pieces, strict=True))


def test_a_small_message_that_unpacks_to_a_flood_costs_its_sender_an_error(peer: Peer) -> None:
    bomb = gzip.compress(bytes(4 * MESSAGE_BYTES_MAX))
    peer.say(opening(1, head(INFER, (b"grpc-encoding", b"gzip"))))
    peer.say(in_pieces(1, prefix(len(bomb), compressed=True) + bomb))
    assert peer.answered(1)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("path", [INFER, STREAM_INFER], ids=["unary", "stream"])
def test_a_bomb_in_any_compression_is_an_error_of_its_own_call(peer: Peer, encoding: str, path: bytes) -> None:
    bomb = (gzip if encoding == "gzip" else zlib).compress(bytes(4 * MESSAGE_BYTES_MAX))
    peer.say(opening(1, head(path, (b"grpc-encoding", encoding.encode()))))
    peer.say(in_pieces(1, prefix(len(bomb), compressed=True) + bomb))
    assert peer.status_of(1) in {Status.INVALID_ARGUMENT, Status.RESOURCE_EXHAUSTED}
    peer.say(call(3))
    assert peer.answered(3)


LIES: dict[str, bytes] = {
    "longer than what comes": prefix(100) + b"short",
    "shorter than what comes": prefix(2) + b"long",
    "a prefix that is cut": prefix(100)[:3],
    "nothing at all": b"",
    "two messages": prefix(0) + prefix(0),
    "an unknown flag": b"\x02" + prefix(0)[1:],
    "compressed, it says": prefix(5, compressed=True) + b"plain",
}


@pytest.mark.parametrize("what", sorted(LIES))
def test_a_message_that_lies_about_itself_costs_its_sender_an_error(peer: Peer, what: str) -> None:
    peer.say(opening(1, head(INFER)) + frame(frames.DATA, frames.END_STREAM, 1, LIES[what]))
    assert peer.status_of(1) in {Status.INVALID_ARGUMENT, Status.INTERNAL, Status.UNIMPLEMENTED}
    peer.say(call(3))
    assert peer.answered(3)


def test_a_body_that_is_not_as_long_as_its_head_says_costs_its_stream(peer: Peer) -> None:
    for stream_id, length in ((1, b"4"), (3, b"6")):
        block = head(LIVE, (b"content-length", length))
        peer.say(opening(stream_id, block) + frame(frames.DATA, frames.END_STREAM, stream_id, prefix(0)))
        assert peer.reset_of(stream_id) == ErrorCode.PROTOCOL_ERROR
    peer.say(call(5))
    assert peer.answered(5)


def test_windows_that_shut_and_open_again_and_again_end_the_connection(peer: Peer) -> None:
    """Each change of the initial window is work on every stream (CVE-2019-9517's sister)."""
    said = b"".join(frame(frames.SETTINGS, 0, 0, pack(">HI", 4, 65535 * (turn & 1))) for turn in range(2000))
    peer.say(b"".join(map(opening, streams(100))) + said)
    assert peer.goaway() == (ErrorCode.ENHANCE_YOUR_CALM, "TOO_MANY_SETTINGS")


def test_answers_that_are_taken_byte_by_byte_end_the_connection(repository: RunningHost) -> None:
    """A window that opens by one byte makes a frame of ten (CVE-2019-9511)."""
    with Peer(repository.address, pack(">HI", 4, 0)) as peer:
        peer.say(call(1) + frames.window_update(1, 1) * 20_000)
        assert peer.goaway()[1] in {"TOO_MANY_WINDOW_UPDATES", "STREAM_CLOSED"}


def test_streams_that_are_given_up_after_their_head_end_the_connection(peer: Peer) -> None:
    """We are made to reset them, by a window that overflows (CVE-2025-8671)."""
    overflow = (1 << 31) - 1
    peer.say(b"".join(opening(each) + frames.window_update(each, overflow) for each in streams(5000)))
    assert peer.goaway() == (ErrorCode.ENHANCE_YOUR_CALM, "TOO_MANY_STREAM_ERRORS")


def test_a_peer_that_opens_no_window_holds_up_nobody_but_itself(repository: RunningHost) -> None:
    """It asks for answers and takes none of them: what waits is bounded, and its other calls do not wait."""
    request = oip.ModelInferRequest(model_name="large", raw_input_contents=[bytes(1 << 16)])
    request.inputs.add(name="x", datatype="FP32", shape=[1 << 14])
    body = request.SerializeToString()
    with Peer(repository.address, pack(">HI", 4, 0)) as peer:
        for stream_id in streams(20):
            peer.say(opening(stream_id, head(INFER)) + in_pieces(stream_id, prefix(len(body)) + body))
        assert peer.answered(*streams(20))
        peer.say(call(1001))
        assert peer.answered(1001)


def test_a_peer_that_reads_nothing_is_not_read_for_ever(peer: Peer) -> None:
    """Answers pile up until the socket is full; then nothing more of it is read, whatever it sends."""
    peer._socket.settimeout(2.0)
    sent = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        for stream_id in streams(500_000):
            peer._socket.sendall(call(stream_id))
            sent += 1
    assert sent < 499_999


def test_many_silent_connections_keep_nobody_out(repository: RunningHost) -> None:
    host, _, port = repository.address.rpartition(":")
    with contextlib.ExitStack() as silent:
        for _ in range(200):
            silent.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE_S))
        with Peer(repository.address) as peer:
            peer.say(call(1))
            assert peer.answered(1)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, b"\0" * 100_000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
)
def test_what_is_neither_protocol_gets_an_answer_of_http(repository: RunningHost, said: bytes) -> None:
    host, _, port = repository.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as made:
        made.sendall(said)
        assert made.recv(9) == b"HTTP/1.1 "
