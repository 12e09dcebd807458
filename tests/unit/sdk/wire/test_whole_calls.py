"""Calls that come whole in one read: a short way that must mean the same as the usual one.

gRPC's C++ core, which most clients are built on, opens a stream's window between the head of a call and its body, and
the connection's behind it.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sdk.wire.peers import GREETING, POST, PREFACE, data, headers, parse, server, summary, update
from waypost.wire import Data, ErrorCode, Event, Headers, Limits, Rate, Request, Reset, ServerConnection
from waypost.wire.frames import DATA, END_STREAM, PADDED, PING, WINDOW_DEFAULT, WINDOW_MAX, WINDOW_UPDATE, frame

HEAD = headers(1, POST, end=False)
BODY = data(1, b"hello", end=True)
RESERVED_BIT = 1 << 31
MOST = WINDOW_MAX - WINDOW_DEFAULT


def test_a_call_of_grpcs_core_is_one_event():
    bench = server()
    events = bench.hear(*(headers(n, POST, end=False) + update(n, 5) + data(n, b"m", end=True) for n in (1, 3, 5)))
    assert [type(event) for event in events] == [Request] * 3
    assert [event.data for event in events] == [b"m"] * 3
    assert [event.stream.send_window for event in events] == [WINDOW_DEFAULT + 5] * 3


def test_the_window_it_opens_is_used():
    bench = server()
    (event,) = bench.hear(update(0, 1 << 20), HEAD, update(1, 100_000), BODY)
    assert isinstance(event, Request)
    bench.connection.send_data(event.stream, (bytes(WINDOW_DEFAULT + 100_001),))
    bench.collect()
    assert event.stream.unsent == 1


@pytest.mark.parametrize(
    ("between", "code"),
    [
        (update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (update(1, RESERVED_BIT), ErrorCode.PROTOCOL_ERROR),
        (update(1, MOST + 1), ErrorCode.FLOW_CONTROL_ERROR),
    ],
)
def test_an_update_that_may_not_be_costs_its_stream(between, code):
    bench = server()
    head, gone = bench.hear(HEAD, between, BODY)
    assert isinstance(head, Headers)
    assert isinstance(gone, Reset)
    assert bench.resets == [(1, code)]


@pytest.mark.parametrize(
    "between",
    [
        update(0, 5),
        update(1, MOST - 5) + update(1, 5),
        frame(WINDOW_UPDATE, 0xFF, 1, b"\0\0\0\5"),
        frame(PING, 0, 0, bytes(8)),
    ],
)
def test_whatever_else_comes_between_is_taken_the_usual_way(between):
    bench = server()
    head, body = bench.hear(HEAD, between, BODY)
    assert (type(head), type(body)) == (Headers, Data)
    assert (body.data, body.ended, bench.reason) == (b"hello", True, None)


def test_small_updates_count_wherever_they_come():
    bench = server(Limits(small_window_updates=Rate(burst=2, per_s=0)))
    for stream_id in (1, 3):
        (event,) = bench.hear(
            headers(stream_id, POST, end=False), update(stream_id, 5), data(stream_id, b"m", end=True)
        )
        assert isinstance(event, Request)
    (event,) = bench.hear(headers(5, POST, end=False), update(5, 5), data(5, b"m", end=True))
    assert isinstance(event, Headers)
    assert bench.reason == "TOO_MANY_WINDOW_UPDATES"


INCREMENTS = st.sampled_from([0, 1, 1023, 1024, MOST - 5, MOST, MOST + 1, WINDOW_MAX, RESERVED_BIT | 5])
USUAL = st.just(5)


def usually(usual: st.SearchStrategy, unusual: st.SearchStrategy) -> st.SearchStrategy:
    return st.integers(0, 9).flatmap(lambda die: usual if die else unusual)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """Calls of one client as gRPC's core makes them, with something unusual here and there."""
    talk = b""
    for stream_id in range(1, 2 * draw(st.integers(1, 8)), 2):
        length = draw(usually(st.none(), st.sampled_from([0, 1, 40])))
        talk += headers(stream_id, POST if length is None else (*POST, (b"content-length", b"%d" % length)), end=False)
        places = usually(st.just(stream_id), st.sampled_from([0, max(1, stream_id - 2), stream_id + 2]))
        early = st.builds(update, places, USUAL | INCREMENTS)
        talk += b"".join(draw(usually(st.lists(early, min_size=1, max_size=1), st.lists(early, max_size=2))))
        body = draw(usually(st.sampled_from([b"m", b"m" * 40]), st.sampled_from([b"", b"m" * 1200])))
        flags = draw(usually(st.just(END_STREAM), st.sampled_from([0, END_STREAM | PADDED])))
        talk += frame(DATA, flags, stream_id, b"\3" + body + bytes(3) if flags & PADDED else body)
        talk += b"".join(draw(st.lists(st.builds(update, st.just(0), USUAL | INCREMENTS), max_size=1)))
    return talk


@settings(max_examples=200)
@given(
    calls(),
    st.integers(1, 6) | st.just(1000),
    st.lists(st.integers(1, 60) | st.integers(1, 2000), min_size=1, max_size=6),
)
def test_one_read_means_what_any_cut_means(talk, small_updates, cuts):
    """Events, what the peer hears, faults, windows and what is left of the rate."""
    limits = Limits(small_window_updates=Rate(small_updates, per_s=0), stream_window_bytes=1000)
    whole, pieces = greeted(limits), greeted(limits)
    told_whole, told_pieces = list(whole.receive(talk, 0.0)), in_pieces(pieces, talk, cuts)
    assert summary(told_whole) == summary(told_pieces)
    assert (whole.fault and whole.fault.reason) == (pieces.fault and pieces.fault.reason)
    assert list(map(repr, parse(b"".join(whole.take())))) == list(map(repr, parse(b"".join(pieces.take()))))
    assert accounts(whole, told_whole) == accounts(pieces, told_pieces)
    assert (whole._window, whole._owed) == (pieces._window, pieces._owed)
    assert whole._meters.small_window_updates.tokens == pieces._meters.small_window_updates.tokens


def greeted(limits: Limits) -> ServerConnection:
    connection = ServerConnection(limits, now=0.0)
    connection.receive(PREFACE + GREETING, 0.0)
    return connection


def in_pieces(connection: ServerConnection, talk: bytes, cuts: list[int]) -> list[Event]:
    events: list[Event] = []
    at = turn = 0
    while at < len(talk):
        size = cuts[turn % len(cuts)]
        events += connection.receive(talk[at : at + size], 0.0)
        at, turn = at + size, turn + 1
    return events


def accounts(connection: ServerConnection, events: list[Event]) -> list[object]:
    """What the connection and each stream may still send, and have not read."""
    streams = dict.fromkeys(event.stream for event in events)
    return [connection._out.window, *((each.id, each.send_window, each.unread) for each in streams)]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.booleans()), min_size=1, max_size=4),
    st.lists(st.integers(1, 200), min_size=1, max_size=40),
)
def test_a_body_that_the_owner_reads_himself_is_one_that_was_received(bodies, cuts):
    """Frames of any size and padding, cut anywhere: the same bytes, windows and ends."""
    said = headers(1, POST, end=False)
    for number, (size, padding, padded) in enumerate(bodies):
        flags = (PADDED if padded else 0) | (END_STREAM if number == len(bodies) - 1 else 0)
        content = bytes([number]) * size
        said += frame(DATA, flags, 1, bytes([padding]) + content + bytes(padding) if padded else content)
    usual, direct = server(), server()
    found = {id(usual): [], id(direct): []}
    at, cuts = 0, [*cuts, len(said)]
    for cut in cuts:
        piece = said[at : at + cut]
        at += cut
        _hear(usual, piece, found[id(usual)])
        while piece and (due := direct.connection.due) is not None:
            taken, piece = piece[: due[1]], piece[due[1] :]
            found[id(direct)] += [taken, direct.connection.received(len(taken), 0.0)]
            direct.connection.acknowledge(due[0], len(taken))
        _hear(direct, piece, found[id(direct)])
        states = [(c._window, c._owed, c.open_streams) for c in (usual.connection, direct.connection)]
        assert states[0] == states[1]
    mine, theirs = ([each for each in said if isinstance(each, bytes)] for said in found.values())
    assert b"".join(mine) == b"".join(theirs) == b"".join(bytes([n]) * size for n, (size, _, _) in enumerate(bodies))
    assert True in found[id(usual)]
    assert True in found[id(direct)]


def _hear(bench, piece, found):
    """Notes the bodies' bytes and whether they have ended, and reads them."""
    for event in bench.hear(piece):
        if isinstance(event, Data | Request):
            found += [event.data, isinstance(event, Request) or event.ended]
            bench.connection.acknowledge(event.stream, len(event.data))
