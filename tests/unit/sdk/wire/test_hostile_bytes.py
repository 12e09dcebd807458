"""Whatever bytes come: one named fault at most, bounded memory, and an end.

The conversations here are valid ones with something broken in them, since pure noise never gets past the first frame.
"""

from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import invariants
from tests.unit.sdk.wire.peers import GET, OK, POST, PREFACE, data, headers, reset, summary, told, update
from waypost.wire import (
    Block,
    ClientConnection,
    Data,
    Event,
    Headers,
    Limits,
    Rate,
    Request,
    ServerConnection,
)
from waypost.wire.frames import ACK, CONTINUATION, HEADERS, PING, PRIORITY, SETTINGS, frame, goaway
from waypost.wire.hpack import encode

ANSWER, END = Block(OK), Block([(b"grpc-status", b"0")])
TIGHT = Limits(
    concurrent_streams=4,
    streams_remembered=4,
    stream_window_bytes=2000,
    header_list_bytes=400,
    heads_remembered=4,
    heads_remembered_bytes=300,
    unsent_bytes=5000,
    control_frames=20,
    resets=Rate(5, 1, 1),
    provoked_resets=Rate(5, 1, 1),
    settings=Rate(5, 1),
)

STREAMS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2, 9])
SOUND = st.one_of(
    STREAMS.flatmap(lambda stream_id: st.builds(headers, st.just(stream_id), st.sampled_from([GET, POST, OK]))),
    st.builds(headers, STREAMS, st.sampled_from([GET, POST, OK]), end=st.booleans()),
    st.builds(data, STREAMS, st.binary(max_size=20) | st.just(b"x" * 900), end=st.booleans()),
    st.builds(reset, STREAMS, st.integers(0, 20)),
    st.builds(update, STREAMS, st.sampled_from([0, 1, 5000, (1 << 31) - 1])),
    st.builds(told, st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 100, 16384, 1 << 20, 1 << 31]))),
    st.builds(frame, st.just(HEADERS), st.integers(0, 255), STREAMS, st.just(encode(GET)) | st.binary(max_size=40)),
    st.builds(frame, st.just(CONTINUATION), st.integers(0, 255), STREAMS, st.just(encode(GET)[3:])),
    st.builds(frame, st.sampled_from(range(12)), st.integers(0, 255), STREAMS, st.binary(max_size=12)),
    st.just(frame(PING, 0, 0, bytes(8))),
    st.just(frame(PRIORITY, 0, 1, bytes(5))),
    st.just(goaway(1, 0)),
)
BREAKS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=3)
CUTS = st.lists(st.integers(1, 300), min_size=1, max_size=5)


def broken(frames: list[bytes], breaks: list[tuple[int, int]]) -> bytes:
    """The frames in a row, with some bytes changed."""
    whole = bytearray(b"".join(frames))
    for place, byte in breaks:
        if place < len(whole):
            whole[place] = byte
    return bytes(whole)


def owner(connection: ServerConnection | ClientConnection, event: Event) -> None:
    """Answers some calls, lets others hang."""
    if isinstance(event, Data) and event.stream.id % 4 == 1:
        connection.acknowledge(event.stream, len(event.data))
    if isinstance(event, Request | Headers) and isinstance(connection, ServerConnection) and event.stream.id != 3:
        connection.reply(event.stream, ANSWER, (b"x" * 1500,), END)


def converse(connection: ServerConnection | ClientConnection, talk: bytes, cuts: list[int], *, reading: bool) -> None:
    """reading: whether the peer takes what we say."""
    at = 0
    for size in cycle(cuts):
        for event in connection.receive(talk[at : at + size], at / 1000):
            owner(connection, event)
        connection.tick(at / 1000)
        if reading:
            connection.take()
        invariants.check_memory(connection)
        invariants.check_accounts(connection)
        invariants.check_end(connection)
        at += size
        if at >= len(talk):
            break
    while connection.wants_write:
        connection.take()
    assert connection.take() == []


@settings(max_examples=300)
@given(st.lists(SOUND, max_size=40), BREAKS, CUTS, st.booleans())
def test_a_server_withstands_any_client(frames, breaks, cuts, reading):
    talk = PREFACE + told() + frame(SETTINGS, ACK, 0) + broken(frames, breaks)
    converse(ServerConnection(TIGHT, now=0.0), talk, cuts, reading=reading)


@settings(max_examples=300)
@given(st.lists(SOUND, max_size=40), BREAKS, CUTS, st.booleans())
def test_a_client_withstands_any_server(frames, breaks, cuts, reading):
    client = ClientConnection(TIGHT, now=0.0)
    for end in (True, True, False):
        client.request(POST, (b"hello",), end=end)
    converse(client, told() + frame(SETTINGS, ACK, 0) + broken(frames, breaks), cuts, reading=reading)


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_no_conversation(noise, greeted):
    for connection in (ServerConnection(TIGHT, now=0.0), ClientConnection(TIGHT, now=0.0)):
        converse(connection, (PREFACE if greeted else b"") + noise, [7], reading=True)


@given(st.lists(SOUND, max_size=30), CUTS)
def test_what_is_told_does_not_depend_on_the_cuts(frames, cuts):
    """The same bytes in one read, or in many, end in the same way, and tell the owner the same."""
    talk = PREFACE + told() + frame(SETTINGS, ACK, 0) + b"".join(frames)
    whole, pieces = ServerConnection(now=0.0), ServerConnection(now=0.0)
    told_whole = list(whole.receive(talk, 0.0))
    told_pieces: list[Event] = []
    at = turn = 0
    while at < len(talk):
        told_pieces += pieces.receive(talk[at : at + cuts[turn % len(cuts)]], 0.0)
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    assert summary(told_whole) == summary(told_pieces)
    assert (whole.fault and whole.fault.reason) == (pieces.fault and pieces.fault.reason)
    assert b"".join(whole.take()) == b"".join(pieces.take())
