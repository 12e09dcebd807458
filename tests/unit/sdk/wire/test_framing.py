"""Bytes into frames (RFC 9113, sections 3.4, 4 and 6.10): what may come, in which order, in any cut."""

import pytest
from hyperframe.frame import SettingsFrame, WindowUpdateFrame

from tests.unit.sdk.wire.peers import (
    GREETING,
    POST,
    Bench,
    client,
    data,
    headers,
    parse,
    server,
)
from waypost.wire import ClientConnection, Data, Headers, Limits, Request, Reset, ServerConnection
from waypost.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    SETTINGS,
    frame,
)
from waypost.wire.hpack import encode

BLOCK = encode(POST)


def fresh_server() -> Bench:
    return Bench(ServerConnection(now=0.0))


def test_section_3_4_a_server_says_hello_before_it_hears_anything():
    settings, window = fresh_server().collect()
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {1: 4096, 3: 256, 4: 4 << 20, 5: 1 << 20, 6: 32 << 10}
    assert isinstance(window, WindowUpdateFrame)
    assert window.window_increment == (16 << 20) - 65535


def test_section_3_4_a_client_says_its_preface_first_and_refuses_push():
    output = b"".join(ClientConnection(now=0.0).take())
    assert output.startswith(PREFACE)
    settings = parse(output[len(PREFACE) :])[0]
    assert settings.settings[SettingsFrame.ENABLE_PUSH] == 0
    assert SettingsFrame.MAX_CONCURRENT_STREAMS not in settings.settings


def test_a_connection_window_of_the_default_size_needs_no_update():
    assert len(Bench(ServerConnection(Limits(connection_window_bytes=65535), now=0.0)).collect()) == 1


@pytest.mark.parametrize("cut", [1, 7, 24, 25, 33])
def test_section_3_4_the_preface_may_be_cut_anywhere(cut):
    bench, hello = fresh_server(), PREFACE + GREETING
    bench.hear(hello[:cut])
    bench.hear(hello[cut:], headers(1))
    assert bench.reason is None
    assert bench.connection.open_streams == 1


@pytest.mark.parametrize("wrong", [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:20] + b"xxxx", b"X"])
def test_section_3_4_anything_else_is_not_http_2(wrong):
    bench = fresh_server()
    bench.hear(wrong)
    assert bench.reason == "PREFACE_INVALID"


@pytest.mark.parametrize("first", [headers(1), frame(PING, 0, 0, bytes(8)), frame(SETTINGS, ACK, 0)])
@pytest.mark.parametrize("fresh", [fresh_server, lambda: Bench(ClientConnection(now=0.0))])
def test_section_3_4_settings_come_first(first, fresh):
    bench = fresh()
    preface = PREFACE if isinstance(bench.connection, ServerConnection) else bench.connection.take() and b""
    bench.hear(preface, first)
    assert bench.reason == "FRAME_UNEXPECTED"


def test_nothing_is_heard_after_the_end():
    bench = fresh_server()
    bench.hear(b"X")
    assert bench.hear(PREFACE, GREETING) == []
    assert bench.collect() == []


def test_section_4_1_the_reserved_bit_of_a_stream_id_is_ignored():
    bench = server()
    block = headers(1, POST, end=False)
    marked = block[:5] + bytes([block[5] | 0x80]) + block[6:]
    assert [type(event) for event in bench.hear(marked, data(1, b"x", end=True))] == [Request]


def test_section_4_1_undefined_flags_are_ignored():
    bench = server()
    events = bench.hear(headers(1, POST, end=False, flags=END_HEADERS | 0x80), frame(DATA, END_STREAM | 0xF0, 1, b"x"))
    assert [type(event) for event in events] == [Headers, Data]


def test_section_4_2_a_frame_above_our_maximum_ends_the_connection_at_its_first_bytes():
    bench = server()
    bench.hear(headers(1, POST, end=False), frame(DATA, 0, 1, bytes((1 << 20) + 1))[:9])
    assert bench.reason == "FRAME_SIZE_INVALID"


def test_section_5_5_unknown_frames_are_ignored():
    bench = server()
    assert bench.hear(frame(0x16, 0xFF, 7, b"whatever"), frame(0xFE, 0, 0)) == []
    assert bench.reason is None


def test_a_large_frame_that_is_no_data_is_not_waited_for():
    bench = server()
    bench.hear(frame(0x16, 0, 0, bytes(70_000))[:9])
    assert bench.reason == "FRAME_TOO_LARGE"


def test_section_6_10_a_header_block_in_many_frames_is_one_block():
    bench = server()
    events = bench.hear(
        frame(HEADERS, END_STREAM, 1, BLOCK[:3]),
        frame(CONTINUATION, 0, 1, b""),
        frame(CONTINUATION, 0, 1, BLOCK[3:9]),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK[9:]),
    )
    (event,) = events
    assert event.ended
    assert event.head.path == b"/"


@pytest.mark.parametrize(
    "intruder",
    [
        frame(PRIORITY, 0, 1, bytes(5)),
        data(1),
        frame(PING, 0, 0, bytes(8)),
        frame(0x16, 0, 0),
        headers(3),
        frame(CONTINUATION, END_HEADERS, 3, BLOCK),
        frame(CONTINUATION, END_HEADERS, 0, BLOCK),
    ],
)
def test_section_6_10_nothing_comes_between_the_frames_of_a_block(intruder):
    bench = server()
    bench.hear(frame(HEADERS, 0, 1, BLOCK[:3]), intruder)
    assert bench.reason == "FRAME_UNEXPECTED"


@pytest.mark.parametrize("before", [b"", headers(1), headers(1, POST, end=False) + data(1, b"x")])
def test_section_6_10_there_is_no_continuation_of_nothing(before):
    bench = server()
    bench.hear(before, frame(CONTINUATION, END_HEADERS, 1, BLOCK))
    assert bench.reason == "FRAME_UNEXPECTED"


def test_section_6_2_padding_and_priority_are_taken_off():
    bench = server()
    padded = frame(HEADERS, END_HEADERS | PADDED, 1, b"\x03" + BLOCK + bytes(3))
    both = frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 3, b"\x02" + bytes(5) + BLOCK + bytes(2))
    ranked = frame(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 5, b"\x80\0\0\x01\xff" + BLOCK)
    assert [event.head.method for event in bench.hear(padded, both, ranked)] == [b"POST"] * 3


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (frame(HEADERS, END_HEADERS, 0, BLOCK), "STREAM_ID_INVALID"),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05" + b"12345"[:4]), "PADDING_INVALID"),
        (frame(HEADERS, END_HEADERS | PADDED, 1, b""), "PADDING_INVALID"),
        (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"1234"), "FRAME_SIZE_INVALID"),
        (frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0\0\x01\x10" + BLOCK), "PRIORITY_INVALID"),
        (frame(PRIORITY, 0, 3, b"\x80\0\0\x03\x10"), "PRIORITY_INVALID"),
        (frame(PRIORITY, 0, 0, bytes(5)), "STREAM_ID_INVALID"),
        (frame(PRIORITY, 0, 3, bytes(4)), "FRAME_SIZE_INVALID"),
        (frame(DATA, 0, 0, b"x"), "STREAM_ID_INVALID"),
        (headers(1, POST, end=False) + frame(DATA, PADDED, 1, b"\x01"), "PADDING_INVALID"),
        (headers(1, POST, end=False) + frame(DATA, PADDED, 1, b""), "PADDING_INVALID"),
        (headers(1, POST, end=False) + frame(DATA, PADDED, 1, b"\x05" + b"1234"), "PADDING_INVALID"),
        (frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + BLOCK), "PUSH_REFUSED"),
        (frame(HEADERS, END_HEADERS, 1, b"\x80"), "HPACK_INVALID"),
        (frame(PING, 0, 1, bytes(8)), "STREAM_ID_INVALID"),
        (frame(PING, 0, 0, bytes(7)), "FRAME_SIZE_INVALID"),
    ],
)
def test_section_6_frames_that_break_their_own_rules_end_the_connection(wrong, reason):
    bench = server()
    bench.hear(wrong)
    assert bench.reason == reason


def test_section_6_6_a_client_refuses_what_is_pushed():
    bench = client()
    bench.connection.request(POST)
    bench.hear(frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + BLOCK))
    assert bench.reason == "PUSH_REFUSED"


def test_data_is_handed_on_as_it_comes():
    bench = server()
    whole = headers(1, POST, end=False) + data(1, b"a" * 50_000, end=True)
    cuts = [whole[:20], whole[20 : len(BLOCK) + 18 + 5], whole[len(BLOCK) + 18 + 5 : 30_000], whole[30_000:]]
    events = [event for cut in cuts for event in bench.hear(cut)]
    pieces = [event for event in events if isinstance(event, Data)]
    assert len(pieces) == 3
    assert b"".join(piece.data for piece in pieces) == b"a" * 50_000
    assert [piece.ended for piece in pieces] == [False, False, True]
    assert not pieces[0].stream.remote_open


def test_padding_of_a_cut_frame_is_no_data():
    bench = server()
    bench.hear(headers(1, POST, end=False))
    padded = frame(DATA, PADDED | END_STREAM, 1, b"\x04" + b"abc" + bytes(4))
    events = [event for at in range(len(padded)) for event in bench.hear(padded[at : at + 1])]
    assert b"".join(event.data for event in events) == b"abc"
    assert [event.ended for event in events] == [False, False, True]


def test_an_empty_end_of_a_cut_padded_frame_is_told_once():
    bench = server()
    bench.hear(headers(1, POST, end=False))
    padded = frame(DATA, PADDED | END_STREAM, 1, b"\x04" + bytes(4))
    events = [event for at in range(len(padded)) for event in bench.hear(padded[at : at + 1])]
    assert [(event.data, event.ended) for event in events] == [(b"", True)]


def test_the_rest_of_a_frame_is_dropped_when_its_stream_is_over():
    bench = server()
    whole = headers(1, POST, end=False) + data(1, b"a" * 1000, end=True)
    first, _ = bench.hear(whole[:500])
    bench.connection.reset(first.stream)
    assert bench.hear(whole[500:], headers(3)) != []
    assert bench.reason is None
    assert bench.connection._window + bench.connection._owed == bench.connection.limits.connection_window_bytes


def test_a_block_that_cannot_be_decoded_tells_the_peer_so():
    bench = server()
    assert bench.hear(headers(1), frame(HEADERS, END_HEADERS, 3, b"\xff")) != []
    assert bench.reason == "HPACK_INVALID"


def test_a_malformed_request_costs_its_stream_only():
    bench = server()
    events = bench.hear(headers(1, (*POST, (b"X", b"1"))), headers(3))
    assert [type(event) for event in events] == [Headers]
    assert bench.resets == [(1, 1)]


def test_malformed_trailers_cost_their_stream_only():
    bench = server()
    events = bench.hear(headers(1, POST, end=False), headers(1, ((b"X", b"1"),)), headers(3))
    assert [type(event) for event in events] == [Headers, Reset, Headers]
    assert bench.resets == [(1, 1)]
