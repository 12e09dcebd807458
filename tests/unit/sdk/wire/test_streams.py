"""Who may say what on a stream, and when (RFC 9113, sections 5.1 and 8.1), for a server."""

import pytest
from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.wire.peers import GET, OK, POST, data, fields, headers, reset, server, told, update
from waypost.wire import Block, Data, ErrorCode, Headers, Limits, Request, Reset, Trailers
from waypost.wire.frames import END_HEADERS, HEADERS, PRIORITY, RST_STREAM, frame
from waypost.wire.hpack import encode

ANSWER, END = Block(OK), Block([(b"grpc-status", b"0")])
CALL = headers(1, POST, end=False) + data(1, b"hello", end=True)


def test_a_whole_call_is_one_event_and_its_answer_one_write():
    bench = server()
    (event,) = bench.hear(CALL)
    assert isinstance(event, Request)
    assert (event.head.path, event.data) == (b"/", b"hello")
    bench.connection.reply(event.stream, ANSWER, (b"wo", b"rld"), END)
    assert len(bench.connection._out.frames) == 1
    head, body, end = bench.collect()
    assert fields(head) == list(OK)
    assert bytes(body.data) == b"world"
    assert fields(end) == [(b"grpc-status", b"0")]
    assert "END_STREAM" in end.flags
    assert bench.connection.open_streams == 0


def test_a_call_is_the_same_in_one_read_or_in_many():
    bench = server()
    events = [event for at in range(len(CALL)) for event in bench.hear(CALL[at : at + 1])]
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"hello"
    assert isinstance(events[0], Headers)
    assert events[-1].ended


def test_calls_of_one_client_share_their_head():
    bench = server()
    first, second = bench.hear(headers(1), headers(3))
    assert first.head is second.head


def test_an_answer_to_a_stream_that_is_over_goes_nowhere():
    bench = server()
    request, gone = bench.hear(CALL, reset(1))
    assert (gone.stream, gone.code, gone.by_peer) == (request.stream, ErrorCode.CANCEL, True)
    bench.connection.reply(request.stream, ANSWER, (b"late",), END)
    bench.connection.send_headers(request.stream, OK)
    bench.connection.reset(request.stream)
    bench.connection.acknowledge(request.stream, 5)
    assert bench.collect() == []


def test_an_answer_in_pieces():
    bench = server()
    (event,) = bench.hear(headers(1))
    connection = bench.connection
    connection.send_headers(event.stream, OK)
    connection.send_data(event.stream, (b"a", b"", b"b"))
    connection.send_data(event.stream, ())
    connection.send_data(event.stream, (memoryview(b"c"),), end=True)
    head, *bodies = bench.collect()
    assert isinstance(head, HeadersFrame)
    assert b"".join(bytes(body.data) for body in bodies) == b"abc"
    assert "END_STREAM" in bodies[-1].flags
    assert event.stream.closed
    assert "unsent=0" in repr(event.stream)


def test_an_answer_without_a_body():
    bench = server()
    one, two, three = bench.hear(headers(1), headers(3), headers(5))
    bench.connection.send_headers(one.stream, ANSWER, end=True)
    bench.connection.send_headers(two.stream, OK)
    bench.connection.send_data(two.stream, (), end=True)
    bench.connection.send_headers(three.stream, OK)
    bench.connection.send_trailers(three.stream, END)
    frames = bench.collect()
    assert [type(frame) for frame in frames] == [HeadersFrame, HeadersFrame, DataFrame, HeadersFrame, HeadersFrame]
    assert bench.connection.open_streams == 0


def test_section_8_1_trailers_end_a_request():
    bench = server()
    events = bench.hear(headers(1, POST, end=False), data(1, b"x"), headers(1, ((b"x-sum", b"1"),)))
    assert [type(event) for event in events] == [Headers, Data, Trailers]
    assert events[-1].head.get(b"x-sum") == b"1"
    assert not events[-1].stream.remote_open


@pytest.mark.parametrize(
    ("second", "code"),
    [
        pytest.param(headers(1, ((b"x-sum", b"1"),), end=False), ErrorCode.PROTOCOL_ERROR, id="without an end"),
        pytest.param(headers(1, ((b":path", b"/"),)), ErrorCode.PROTOCOL_ERROR, id="with pseudo-header fields"),
    ],
)
def test_section_8_1_trailers_that_are_none(second, code):
    bench = server()
    *_, event = bench.hear(headers(1, POST, end=False), second)
    assert isinstance(event, Reset)
    assert (event.code, event.by_peer) == (code, False)
    assert event.reason
    assert bench.resets == [(1, code)]


@pytest.mark.parametrize("late", [data(1, b"x"), headers(1), headers(1, ((b"x-sum", b"1"),))])
def test_section_5_1_nothing_follows_the_end_of_a_request(late):
    bench = server()
    *_, event = bench.hear(CALL, late)
    assert isinstance(event, Reset)
    assert bench.resets == [(1, ErrorCode.STREAM_CLOSED)]


@pytest.mark.parametrize("harmless", [update(1, 5), frame(PRIORITY, 0, 1, bytes(5)), reset(1)])
def test_section_5_1_what_may_still_come_on_a_closed_stream(harmless):
    bench = server()
    (event,) = bench.hear(CALL)
    bench.connection.reply(event.stream, ANSWER, (b"world",), END)
    assert bench.hear(harmless) == []
    assert bench.reason is None


@pytest.mark.parametrize("late", [data(1, b"x"), headers(1)])
@pytest.mark.parametrize("answered", [True, False])
def test_section_5_1_data_and_headers_on_a_closed_stream_end_the_connection(late, answered):
    bench = server()
    event, *_ = bench.hear(CALL, b"" if answered else reset(1))
    bench.connection.reply(event.stream, ANSWER, (b"world",), END)
    bench.hear(late)
    assert bench.reason == "STREAM_CLOSED"


@pytest.mark.parametrize("early", [data(1, b"x"), reset(1), update(1, 5), data(2, b"x"), reset(2), update(2, 5)])
def test_section_5_1_nothing_may_come_on_an_idle_stream(early):
    bench = server()
    bench.hear(early)
    assert bench.reason == "STREAM_IDLE"


def test_section_5_1_1_a_client_opens_odd_streams():
    bench = server()
    bench.hear(headers(2))
    assert bench.reason == "STREAM_ID_INVALID"


def test_section_5_1_1_streams_open_in_ascending_order():
    bench = server()
    bench.hear(headers(5))
    bench.hear(headers(3))
    assert bench.reason == "STREAM_ID_INVALID"


def test_section_5_1_2_streams_above_the_limit_were_not_executed():
    bench = server(Limits(concurrent_streams=2))
    events = bench.hear(headers(1), headers(3), headers(5, POST, end=False), data(5, b"x"), headers(7))
    assert [event.stream.id for event in events] == [1, 3]
    assert bench.resets == [(5, ErrorCode.REFUSED_STREAM), (7, ErrorCode.REFUSED_STREAM)]
    bench.connection.reply(events[0].stream, ANSWER, (b"x",), END)
    assert len(bench.hear(headers(9))) == 1


def test_section_5_4_2_frames_on_a_stream_we_reset_are_ignored():
    bench = server()
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reset(event.stream, ErrorCode.INTERNAL_ERROR)
    bench.collect()
    assert bench.resets == [(1, ErrorCode.INTERNAL_ERROR)]
    assert bench.hear(data(1, b"x" * 100), data(1), headers(1, ((b"x-sum", b"1"),))) == []
    assert bench.reason is None
    bench.hear(data(1, b"x"))
    assert bench.reason == "STREAM_CLOSED"


@pytest.mark.parametrize("last", [data(1, b"x", end=True), reset(1)])
def test_a_stream_we_reset_is_forgotten_when_the_peer_ends_it(last):
    bench = server()
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reset(event.stream)
    assert bench.hear(last) == []
    bench.hear(data(1, b"x"))
    assert bench.reason == "STREAM_CLOSED"


def test_section_5_4_2_the_table_follows_blocks_nobody_wants():
    """The block of an ignored stream may change the table that the next one uses."""
    bench = server()
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reset(event.stream)
    bench.hear(frame(HEADERS, END_HEADERS | 1, 1, b"\x40\x03x-a\x011"))
    (event,) = bench.hear(frame(HEADERS, END_HEADERS | 1, 3, encode(GET) + b"\xbe"))
    assert event.head.get(b"x-a") == b"1"


def test_streams_we_reset_are_remembered_within_a_bound():
    bench = server(Limits(streams_remembered=2))
    for event in bench.hear(*(headers(stream_id, POST, end=False) for stream_id in (1, 3, 5))):
        bench.connection.reset(event.stream)
    bench.hear(data(3, b"x"), data(5, b"x"))
    assert bench.reason is None
    bench.hear(data(1, b"x"))
    assert bench.reason == "STREAM_CLOSED"


def test_section_8_1_an_answer_before_the_requests_end_asks_for_no_more_of_it():
    bench = server()
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reply(event.stream, ANSWER, (b"enough",), END)
    bench.collect()
    assert bench.resets == [(1, ErrorCode.NO_ERROR)]
    assert bench.hear(data(1, b"x", end=True)) == []
    assert bench.reason is None


def test_an_early_answer_that_must_wait_is_whole_before_the_reset():
    bench = server()
    (event,) = bench.hear(told((4, 3)), headers(1, POST, end=False))
    bench.connection.reply(event.stream, ANSWER, (b"enough",), END)
    bench.collect()
    assert bench.resets == []
    bench.hear(update(1, 100))
    assert isinstance(bench.frames[-2], HeadersFrame)
    assert bench.resets == [(1, ErrorCode.NO_ERROR)]


def test_section_6_4_a_reset_drops_what_was_queued():
    bench = server()
    (event,) = bench.hear(told((4, 0)), headers(1))
    bench.connection.send_headers(event.stream, OK)
    bench.connection.send_data(event.stream, (b"x" * 100,))
    assert event.stream.unsent == 100
    bench.hear(reset(1))
    assert event.stream.unsent == bench.connection.unsent_bytes == 0
    bench.hear(update(1, 5))
    assert bench.reason is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (frame(RST_STREAM, 0, 0, bytes(4)), "STREAM_ID_INVALID"),
        (headers(1) + frame(RST_STREAM, 0, 1, bytes(5)), "FRAME_SIZE_INVALID"),
    ],
)
def test_section_6_4_wrong_resets(wrong, reason):
    bench = server()
    bench.hear(wrong)
    assert bench.reason == reason


def test_a_code_that_nobody_knows_is_passed_on():
    bench = server()
    assert bench.hear(headers(1), reset(1, 0xBEEF))[-1].code == 0xBEEF


def test_a_head_above_our_frame_size_goes_in_several_frames():
    bench = server()
    (event,) = bench.hear(headers(1))
    bench.connection.send_headers(event.stream, (*OK, (b"x-large", b"v" * 40_000)), end=True)
    frames = bench.collect()
    assert [frame.type for frame in frames] == [1, 9, 9]
    assert "END_STREAM" in frames[0].flags
    assert "END_HEADERS" in frames[-1].flags


def test_a_block_for_every_connection_fits_into_one_frame():
    with pytest.raises(ValueError, match="16384"):
        Block([(b"x-large", b"v" * 20_000)])


@given(st.lists(st.tuples(st.just(b"x-a"), st.binary(max_size=3000).map(bytes.hex).map(str.encode)), max_size=5))
def test_trailers_may_be_pairs_or_the_bytes_of_their_pieces(pairs):
    answers = []
    for trailers in (pairs, b"".join(encode([pair]) for pair in pairs)):
        bench = server()
        (event,) = bench.hear(headers(1, end=False), data(1, b"x", end=True))
        bench.connection.reply(event.stream, ANSWER, (b"x",), trailers)
        answers.append(bench.connection.take())
    assert b"".join(answers[0]) == b"".join(answers[1])


def test_a_view_of_numbers_would_be_counted_wrong():
    bench = server()
    (event,) = bench.hear(headers(1))
    numbers = memoryview(bytes(16)).cast("I")
    with pytest.raises(AssertionError, match="single bytes"):
        bench.connection.send_data(event.stream, (numbers,))
    bench.connection.send_data(event.stream, (numbers.cast("B"),))
    assert event.stream.unsent == 16


def test_what_is_sent_twice_is_a_mistake_of_the_owner():
    bench = server()
    (event,) = bench.hear(told((4, 0)), headers(1))
    bench.connection.reply(event.stream, ANSWER, (b"x",), END)
    with pytest.raises(AssertionError, match="has ended"):
        bench.connection.send_data(event.stream, (b"y",))
