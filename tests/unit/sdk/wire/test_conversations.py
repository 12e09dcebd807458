"""Our client against our server, in any cut, any order of what owners do, and any windows.

Laws: every message arrives whole and in order; nothing is left queued, open or unaccounted for; nobody faults.
"""

from dataclasses import dataclass, field
from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from waypost.wire import (
    Block,
    ClientConnection,
    Data,
    Headers,
    Limits,
    Request,
    Reset,
    Response,
    ServerConnection,
    Stream,
    Trailers,
)

HEAD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"edge"))
ANSWER = Block([(b":status", b"200")])
END = Block([(b"grpc-status", b"0")])

LIMITS = st.builds(
    Limits,
    stream_window_bytes=st.sampled_from([3000, 70_000, 1 << 20]),
    connection_window_bytes=st.sampled_from([65535, 80_000, 1 << 24]),
    write_bytes=st.sampled_from([100, 20_000, 1 << 20]),
    header_table_bytes=st.sampled_from([0, 60, 4096]),
    heads_remembered=st.sampled_from([1, 256]),
    concurrent_streams=st.sampled_from([1, 3, 256]),
)
BODIES = st.lists(
    st.integers(1, 40).flatmap(lambda n: st.binary(min_size=n, max_size=n))
    | st.sampled_from([b"m" * 16384, b"l" * 30_000]),
    max_size=3,
)

CUTS = st.sampled_from([33, 300, 5000, 1 << 20])
ROUNDS_MAX = 100_000  # the largest conversation here in the smallest bites takes a tenth


@dataclass
class Call:
    """One call as its client sees it."""

    sent: list[bytes]
    stream: Stream | None = None
    unsent: list[bytes] = field(default_factory=list)
    got: bytes = b""
    status: bytes | None = None


@dataclass
class Wire:
    """Both ends, and the bytes between them."""

    client: ClientConnection
    server: ServerConnection
    to_server: bytearray = field(default_factory=bytearray)
    to_client: bytearray = field(default_factory=bytearray)
    heard: dict[int, bytes] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.client.closed or self.server.closed

    def collect(self) -> None:
        self.to_server += b"".join(self.client.take())
        self.to_client += b"".join(self.server.take())

    def serve(self, size: int) -> None:
        for event in self.server.receive(cut(self.to_server, size), 0.0):
            if isinstance(event, Request):
                self.answer(event.stream, event.data)
            elif isinstance(event, Headers):
                self.heard[event.stream.id] = b""
                if event.ended:
                    self.answer(event.stream, b"")
            elif isinstance(event, Data):
                self.heard[event.stream.id] += event.data
                self.server.acknowledge(event.stream, len(event.data))
                if event.ended:
                    self.answer(event.stream, self.heard[event.stream.id])
        self.collect()

    def answer(self, stream: Stream, body: bytes) -> None:
        """The body backwards."""
        self.server.reply(stream, ANSWER, (body[::-1],), END)

    def read(self, size: int) -> None:
        for event in self.client.receive(cut(self.to_client, size), 0.0):
            assert not isinstance(event, Reset)
            call = self.calls[event.stream.id]
            if isinstance(event, Response):
                call.got, call.status = event.data, event.trailers.get(b"grpc-status")
            elif isinstance(event, Data):
                call.got += event.data
                self.client.acknowledge(event.stream, len(event.data))
            elif isinstance(event, Trailers):
                call.status = event.head.get(b"grpc-status")
        self.collect()

    def start(self, call: Call, whole: bool, number: int) -> None:
        pairs = (*HEAD, (b"x-tower", b"%d" % (number % 3)))
        if whole:
            call.stream = self.client.request(pairs, tuple(call.sent), extra=((b"x-number", b"%d" % number),))
        else:
            call.stream = self.client.request(pairs, end=False)
            call.unsent = list(call.sent)
        self.calls[call.stream.id] = call

    def send(self, call: Call) -> None:
        if call.unsent:
            self.client.send_data(call.stream, (call.unsent.pop(0),), end=not call.unsent)
        elif call.stream.local_open and call.stream.queued_end is None:
            self.client.send_data(call.stream, (), end=True)


def cut(buffer: bytearray, size: int) -> bytes:
    part = bytes(buffer[:size])
    del buffer[:size]
    return part


def unaccounted(connection: ClientConnection | ServerConnection) -> int:
    """Bytes of the connection's receive window that are neither open nor about to be given back."""
    return connection.limits.connection_window_bytes - connection._window - connection._owed


@given(
    LIMITS,
    LIMITS,
    st.lists(st.tuples(BODIES, st.booleans()), min_size=1, max_size=4),
    st.lists(st.tuples(CUTS, CUTS), min_size=1, max_size=8),
)
def test_every_message_arrives_whole_and_nothing_is_left(ours, theirs, plans, cuts):
    wire = Wire(ClientConnection(ours, now=0.0), ServerConnection(theirs, now=0.0))
    waiting = [(Call(sent), whole) for sent, whole in plans]
    calls = [call for call, _ in waiting]
    wire.collect()
    wire.read(1 << 20)  # the server's settings: before them, a client may open more streams than are taken
    for to_server, to_client in islice(cycle(cuts), ROUNDS_MAX):
        if waiting and wire.client.capacity:
            wire.start(*waiting.pop(0), number=len(waiting))
        for call in calls:
            if call.stream is not None and call.stream.local_open and not call.stream.unsent:
                wire.send(call)
        wire.collect()
        if wire.over or not (wire.to_server or wire.to_client or waiting):
            break
        wire.serve(to_server)
        wire.read(to_client)
    assert wire.client.fault is wire.server.fault is None
    assert [(call.got, call.status) for call in calls] == [(b"".join(call.sent)[::-1], b"0") for call in calls]
    for end in (wire.client, wire.server):
        assert end.open_streams == end.unsent_bytes == unaccounted(end) == 0
        assert not end.wants_write


@given(st.lists(st.sampled_from(["call", "cancel", "refuse", "answer", "lag"]), max_size=60))
def test_cancelled_and_refused_calls_leave_nothing_behind(steps):
    """In whatever order owners start, cancel, refuse and answer, while both ends know of each other with a lag."""
    client, server = ClientConnection(now=0.0), ServerConnection(now=0.0)
    streams: list[Stream] = []
    asked: list[Stream] = []

    def exchange() -> None:
        for event in server.receive(b"".join(client.take()), 0.0):
            if isinstance(event, Request):
                asked.append(event.stream)
        client.receive(b"".join(server.take()), 0.0)

    exchange()
    for step in steps:
        if step == "call":
            streams.append(client.request(HEAD, (b"x" * 100,)))
        elif step == "cancel" and streams:
            client.reset(streams.pop(0))
        elif step == "refuse" and asked:
            server.reset(asked.pop(0))
        elif step == "answer" and asked:
            server.reply(asked.pop(), ANSWER, (b"y" * 100,), END)
        elif step == "lag":
            exchange()
    for stream in streams:
        client.reset(stream)
    for _ in range(3):
        exchange()
    assert client.fault is server.fault is None
    for end in (client, server):
        assert end.open_streams == end.unsent_bytes == unaccounted(end) == 0
