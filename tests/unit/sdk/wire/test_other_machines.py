"""Against PyPI's h2, which follows the RFCs independently: our server with its client, our client with its server.

Bytes are cut at random, windows are small, and what h2 calls a protocol error fails the test.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.wire import Block, ClientConnection, Data, Headers, Limits, Request, Response, ServerConnection, Trailers

HEAD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"edge"))
ANSWER = Block([(b":status", b"200")])
END = Block([(b"grpc-status", b"0")])

BODIES = st.lists(st.integers(0, 300) | st.sampled_from([16_384, 70_000, 200_000]), min_size=1, max_size=5)
CUTS = st.lists(st.sampled_from([50, 1000, 50_000, 1 << 20]), min_size=1, max_size=5)
THEIRS = st.fixed_dictionaries(
    {
        SettingCodes.INITIAL_WINDOW_SIZE: st.sampled_from([3000, 65_535, 1 << 20]),
        SettingCodes.HEADER_TABLE_SIZE: st.sampled_from([0, 60, 4096]),
        SettingCodes.MAX_FRAME_SIZE: st.sampled_from([16_384, 1 << 20]),
    }
)
OURS = st.builds(
    Limits,
    stream_window_bytes=st.sampled_from([3000, 1 << 20]),
    connection_window_bytes=st.sampled_from([65_535, 1 << 20]),
    header_table_bytes=st.sampled_from([0, 60, 4096]),
)
ROUNDS_MAX = 50_000


@dataclass
class Other:
    """h2's machine, with what it still has to send and what it got."""

    machine: H2Connection
    to_send: dict[int, bytes] = field(default_factory=dict)
    got: dict[int, bytes] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    @classmethod
    def start(cls, theirs: dict[SettingCodes, int], *, is_client: bool) -> "Other":
        machine = H2Connection(H2Configuration(client_side=is_client, header_encoding=None))
        machine.initiate_connection()
        machine.update_settings(theirs)
        return cls(machine)

    def send(self) -> bytes:
        """As much of the bodies as the windows allow."""
        for stream_id, body in list(self.to_send.items()):
            size = min(self.machine.local_flow_control_window(stream_id), self.machine.max_outbound_frame_size)
            self.to_send[stream_id] = body[size:]
            self.machine.send_data(stream_id, body[:size], end_stream=size >= len(body))
            if size >= len(body):
                del self.to_send[stream_id]
        return self.machine.data_to_send()

    def hear(self, data: bytes) -> list[object]:
        events = self.machine.receive_data(data)
        for event in events:
            assert not isinstance(event, StreamReset)
            if isinstance(event, DataReceived):
                self.got[event.stream_id] = self.got.get(event.stream_id, b"") + event.data
                if event.flow_controlled_length:
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
        return events


def body_of(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


def pieces(data: bytes, cuts: Iterator[int]) -> Iterator[bytes]:
    while data:
        size = next(cuts)
        yield data[:size]
        data = data[size:]


@settings(max_examples=50)
@given(OURS, THEIRS, BODIES, CUTS)
def test_our_server_and_another_client_understand_each_other(ours, theirs, sizes, cuts):
    server, client, cut = ServerConnection(ours, now=0.0), Other.start(theirs, is_client=True), cycle(cuts)
    for number, size in enumerate(sizes):
        stream_id = 2 * number + 1
        client.machine.send_headers(stream_id, (*HEAD, (b"x-number", b"%d" % (number % 2))))
        client.to_send[stream_id] = body_of(size)
    bodies: dict[int, bytes] = {}
    for _ in range(ROUNDS_MAX):
        for piece in pieces(client.send(), cut):
            for event in server.receive(piece, 0.0):
                if isinstance(event, Headers):
                    bodies[event.stream.id] = b""
                elif isinstance(event, Data):
                    bodies[event.stream.id] += event.data
                    server.acknowledge(event.stream, len(event.data))
                if isinstance(event, Request):
                    server.reply(event.stream, ANSWER, (event.data,), END)
                elif isinstance(event, Data) and event.ended:
                    server.reply(event.stream, ANSWER, (bodies[event.stream.id],), END)
        for piece in pieces(b"".join(server.take()), cut):
            client.hear(piece)
        if len(client.ended) == len(sizes):
            break
    assert server.fault is None
    assert [client.got.get(2 * number + 1, b"") for number in range(len(sizes))] == list(map(body_of, sizes))
    assert server.open_streams == server.unsent_bytes == 0


@settings(max_examples=50)
@given(OURS, THEIRS, BODIES, CUTS)
def test_our_client_and_another_server_understand_each_other(ours, theirs, sizes, cuts):
    client, server, cut = ClientConnection(ours, now=0.0), Other.start(theirs, is_client=False), cycle(cuts)
    # h2 never gives back a window that it shrank below zero, and takes larger frames only in a later read than the
    # acknowledgement of their size. So settings are exchanged first.
    for _ in range(2):
        server.hear(b"".join(client.take()))
        client.receive(server.send(), 0.0)
    streams = [
        client.request((*HEAD, (b"x-number", b"%d" % (number % 2))), (body_of(size),))
        for number, size in enumerate(sizes)
    ]
    got, ended = dict.fromkeys(streams, b""), set()
    for _ in range(ROUNDS_MAX):
        for piece in pieces(b"".join(client.take()), cut):
            for event in server.hear(piece):
                if isinstance(event, StreamEnded):
                    server.machine.send_headers(event.stream_id, [(b":status", b"103")])
                    server.machine.send_headers(event.stream_id, [(b":status", b"200"), (b"x-number", b"7")])
                    server.to_send[event.stream_id] = server.got.get(event.stream_id, b"")
        for piece in pieces(server.send(), cut):
            for event in client.receive(piece, 0.0):
                if isinstance(event, Data):
                    got[event.stream] += event.data
                    client.acknowledge(event.stream, len(event.data))
                if isinstance(event, Data | Headers) and event.ended:
                    ended.add(event.stream)
        if len(ended) == len(sizes):
            break
    client.take()
    assert client.fault is None
    assert [got[stream] for stream in streams] == list(map(body_of, sizes))
    assert client.open_streams == client.unsent_bytes == 0


def test_a_warm_answer_is_what_another_client_expects():
    server, client = ServerConnection(now=0.0), Other.start({}, is_client=True)
    client.machine.send_headers(1, HEAD)
    client.machine.send_data(1, b"hello", end_stream=True)
    (event,) = server.receive(client.send(), 0.0)
    server.reply(event.stream, ANSWER, (b"wo", b"rld"), END)
    events = client.hear(b"".join(server.take()))
    assert [type(event) for event in events][-4:] == [ResponseReceived, DataReceived, TrailersReceived, StreamEnded]
    assert client.got == {1: b"world"}


def test_another_client_may_open_windows_before_its_body_as_grpcs_core_does():
    server, client = ServerConnection(now=0.0), Other.start({}, is_client=True)
    for stream_id in (1, 3):
        client.machine.send_headers(stream_id, HEAD)
        client.machine.increment_flow_control_window(5, stream_id)
        client.machine.send_data(stream_id, b"hello", end_stream=True)
        client.machine.increment_flow_control_window(80)
    events = server.receive(client.send(), 0.0)
    assert [type(event) for event in events] == [Request, Request]
    for event in events:
        server.reply(event.stream, ANSWER, (event.data,), END)
    client.hear(b"".join(server.take()))
    assert client.got == {1: b"hello", 3: b"hello"}


def test_a_warm_answer_of_another_server_is_what_our_client_expects():
    client, server = ClientConnection(now=0.0), Other.start({}, is_client=False)
    for number in range(2):
        client.request(HEAD, (b"hello",))
        events = server.hear(b"".join(client.take()))
        assert RequestReceived in map(type, events)
        stream_id = 2 * number + 1
        server.machine.send_headers(stream_id, [(b":status", b"200")])
        server.machine.send_data(stream_id, b"world")
        server.machine.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
        kinds = [type(event) for event in client.receive(server.send(), 0.0)]
        assert kinds in ([Headers, Data, Trailers], [Response])
