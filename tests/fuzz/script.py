"""A fuzzer's bytes as a script: what the peer says, and what the owner does, in turn.

    1 byte     who plays: bit 0 client or server, bit 1 tight limits, bit 2 the peer said hello, bit 3 a small
               table for the peer's headers
    then steps, each an opcode (modulo their number) and its arguments; what is cut off at the end is missing zeroes

A mutated script is a script, so a fuzzer never wastes its time on a parser of ours.
"""

from collections.abc import Callable
from enum import IntEnum

from tests.fuzz import invariants
from waypost.wire import Block, ClientConnection, ErrorCode, Headers, Limits, Rate, ServerConnection, Stream, Trailers
from waypost.wire.frames import ACK, PREFACE, SETTINGS, frame

HEAD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"edge"))
ASK = ((b":method", b"HEAD"), *HEAD[1:])
ANSWER = Block([(b":status", b"200")])
END = Block([(b"grpc-status", b"0")])

TIGHT = Limits(
    header_block_bytes=1 << 14,
    header_list_bytes=400,
    continuation_frames=2,
    heads_remembered=3,
    heads_remembered_bytes=300,
    concurrent_streams=3,
    streams_remembered=3,
    frame_bytes=1 << 15,
    stream_window_bytes=1000,
    connection_window_bytes=65535,
    unsent_bytes=100_000,
    write_bytes=20_000,
    control_frames=10,
    settings_entries=8,
    **dict.fromkeys(
        (
            "resets",
            "provoked_resets",
            "pings",
            "settings",
            "priorities",
            "empty_data",
            "small_window_updates",
            "other_frames",
        ),
        Rate(burst=4, per_s=1, per_progress=1),
    ),
)

SMALL_TABLE = Limits(header_table_bytes=200)

IS_CLIENT, IS_TIGHT, IS_GREETED, HAS_SMALL_TABLE = 1, 2, 4, 8


class Op(IntEnum):
    HEAR = 0  # length (2), bytes
    DRIP = 1  # the same, byte by byte
    TAKE = 2
    TICK = 3  # seconds (1)
    REPLY = 4  # stream (1), length (2)
    RESET = 5  # stream (1)
    READ = 6  # stream (1), length (2)
    SEND_HEAD = 7  # stream (1), end (1)
    SEND_DATA = 8  # stream (1), length (2), end (1)
    SEND_TRAILERS = 9  # stream (1)
    SHUTDOWN = 10
    REQUEST = 11  # length (2), end (1)
    ASK = 12
    PING = 13
    LOSE = 14
    FAIL = 15


class Player:
    """Plays one script and checks after each step. Raises AssertionError, or whatever the machine should not."""

    def __init__(self, script: bytes) -> None:
        self._script = script
        self._at = 0
        who = self._number(1)
        limits = TIGHT if who & IS_TIGHT else SMALL_TABLE if who & HAS_SMALL_TABLE else Limits()
        self.now = 0.0
        self.connection = (ClientConnection if who & IS_CLIENT else ServerConnection)(limits, now=0.0)
        self.streams: list[Stream] = []
        self._heard = self._said = self._given = 0
        if who & IS_GREETED:
            hello = frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)
            self._hear(hello if who & IS_CLIENT else PREFACE + hello)

    def play(self) -> None:
        steps: dict[Op, Callable[[], None]] = {
            Op.HEAR: lambda: self._hear(self._bytes()),
            Op.DRIP: self._drip,
            Op.TAKE: lambda: self._check_output(self.connection.take()),
            Op.TICK: self._tick,
            Op.REPLY: self._reply,
            Op.RESET: self._reset,
            Op.READ: lambda: self._on_stream(lambda stream: self.connection.acknowledge(stream, self._number(2))),
            Op.SEND_HEAD: self._send_head,
            Op.SEND_DATA: self._send_data,
            Op.SEND_TRAILERS: self._send_trailers,
            Op.SHUTDOWN: self._shutdown,
            Op.REQUEST: self._request,
            Op.ASK: self._ask,
            Op.PING: self._ping,
            Op.LOSE: lambda: self.connection.lose(),
            Op.FAIL: self._fail,
        }
        while self._at < len(self._script):
            steps[Op(self._number(1) % len(Op))]()
            invariants.check(self.connection, self._heard, self._said, self._given)

    def _number(self, size: int) -> int:
        part = self._script[self._at : self._at + size]
        self._at += size
        return int.from_bytes(part.ljust(size, b"\0"), "big")

    def _bytes(self) -> bytes:
        size = self._number(2)
        part = self._script[self._at : self._at + size]
        self._at += size
        return part

    def _hear(self, data: bytes) -> None:
        self._heard += len(data)
        for event in self.connection.receive(data, self.now):
            stream = getattr(event, "stream", None)
            if stream is not None and stream not in self.streams:
                self.streams.append(stream)
            if isinstance(event, Headers | Trailers):
                assert event.head.get(b"nobody sends this") is None

    def _drip(self) -> None:
        for byte in self._bytes():
            self._hear(bytes([byte]))

    def _tick(self) -> None:
        self.now += self._number(1)
        self._given += 100  # a ping, or a goodbye
        due = self.connection.tick(self.now)
        assert due > self.now

    def _check_output(self, output: list[bytes | memoryview]) -> None:
        self._said += sum(map(len, output))
        assert self.connection._out.pending == 0

    def _on_stream(self, act: Callable[[Stream], None]) -> None:
        number = self._number(1)
        if self.streams:
            act(self.streams[number % len(self.streams)])

    def _may_send(self, stream: Stream) -> bool:
        """An owner keeps to one end per stream; the machine may insist on that."""
        return stream.queued_end is None

    def _reset(self) -> None:
        self._given += 100
        self._on_stream(self.connection.reset)

    def _shutdown(self) -> None:
        self._given += 100
        self.connection.shutdown(self.now)

    def _ping(self) -> None:
        self._given += 100
        self.connection.ping(b"pingping")

    def _fail(self) -> None:
        self._given += 100
        ended = self.connection.closed
        self.connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "OF_THE_OWNER", "there is no more room")
        assert self.connection.closed
        assert ended or self.connection.fault.reason == "OF_THE_OWNER"

    def _reply(self) -> None:
        def act(stream: Stream) -> None:
            if isinstance(self.connection, ServerConnection) and self._may_send(stream):
                self.connection.reply(stream, ANSWER, self._body(), END)

        self._on_stream(act)

    def _send_head(self) -> None:
        def act(stream: Stream) -> None:
            if self._may_send(stream) and not stream.unsent:
                self._given += 100
                self.connection.send_headers(stream, HEAD[1:], end=bool(self._number(1) & 1))

        self._on_stream(act)

    def _send_data(self) -> None:
        def act(stream: Stream) -> None:
            if self._may_send(stream):
                self.connection.send_data(stream, self._body(), end=bool(self._number(1) & 1))

        self._on_stream(act)

    def _send_trailers(self) -> None:
        def act(stream: Stream) -> None:
            if self._may_send(stream):
                self._given += 100
                self.connection.send_trailers(stream, END if stream.id % 4 == 1 else [(b"grpc-status", b"1")])

        self._on_stream(act)

    def _body(self) -> tuple[bytes, ...]:
        size = self._number(2)
        self._given += size + 200 + size // 100  # with the head, the trailers and the frames' headers
        return (b"x" * (size // 2), b"y" * (size - size // 2))

    def _request(self) -> None:
        parts, end = self._body(), bool(self._number(1) & 1)
        if isinstance(self.connection, ClientConnection) and self.connection.capacity:
            self.streams.append(self.connection.request(HEAD, parts, extra=((b"x-n", b"1"),), end=end))

    def _ask(self) -> None:
        if isinstance(self.connection, ClientConnection) and self.connection.capacity:
            self._given += 200
            self.streams.append(self.connection.request(ASK))
