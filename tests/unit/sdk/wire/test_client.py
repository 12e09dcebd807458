"""The client's role (RFC 9113, section 8), and what our server and we ourselves make of each other."""

import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from tests.unit.sdk.wire.peers import GET, OK, POST, client, data, fields, headers, reset, told, update
from waypost.wire import Data, ErrorCode, Headers, Limits, Request, Reset, Response, ServerConnection, Trailers
from waypost.wire.frames import END_HEADERS, HEADERS, STREAM_ID_MAX, frame
from waypost.wire.hpack import encode

END = ((b"grpc-status", b"0"),)
ANSWER = headers(1, OK, end=False) + data(1, b"world") + headers(1, END)


def following(answer: bytes, stream_id: int) -> bytes:
    """The same frames on another stream."""
    return answer.replace(b"\0\0\0\x01", stream_id.to_bytes(4, "big"))


def test_a_call_leaves_in_one_piece():
    bench = client()
    stream = bench.connection.request(POST, (b"he", b"llo"))
    assert len(bench.connection._out.frames) == 1
    head, body = bench.collect()
    assert fields(head)[:2] == [(b":method", b"POST"), (b":scheme", b"http")]
    assert (bytes(body.data), set(body.flags)) == (b"hello", {"END_STREAM"})
    assert (stream.remote_open, stream.local_open) == (True, False)


def test_an_answer_is_one_event_when_its_trailers_are_known():
    bench = client()
    one = bench.connection.request(POST, (b"hello",))
    two = bench.connection.request(POST, (b"hello",))
    first = bench.hear(ANSWER)
    assert [type(event) for event in first] == [Headers, Data, Trailers]
    (answer,) = bench.hear(following(ANSWER, 3))
    assert isinstance(answer, Response)
    assert (answer.stream, answer.head.status, answer.data) == (two, 200, b"world")
    assert answer.trailers is first[-1].head
    assert one.closed
    assert two.closed
    assert bench.connection.open_streams == 0


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_means_the_same_in_any_cut(cut):
    bench = client()
    for _ in range(2):
        bench.connection.request(POST, (b"hello",))
    bench.hear(ANSWER)
    answer = following(ANSWER, 3)
    events = bench.hear(answer[:cut]) + bench.hear(answer[cut:])
    assert b"".join(event.data for event in events if isinstance(event, Data | Response)) == b"world"
    end = events[-1].trailers if isinstance(events[-1], Response) else events[-1].head
    assert end.get(b"grpc-status") == b"0"


def test_an_answer_with_other_frames_behind_its_body_comes_in_pieces():
    bench = client()
    for _ in range(2):
        bench.connection.request(POST, (b"hello",))
    bench.hear(ANSWER)
    events = bench.hear(headers(3, OK, end=False), data(3, b"x"), update(0, 5000), headers(3, END))
    assert [type(event) for event in events] == [Headers, Data, Trailers]


def test_repeated_metadata_is_one_byte_each_and_the_deadline_does_not_disturb_it():
    bench = client()
    connection = bench.connection
    pairs = (*POST, (b"x-tower", b"7"))
    connection.request(pairs, (b"x",), extra=((b"grpc-timeout", b"1S"),))
    connection.request(pairs, (b"x",), extra=((b"grpc-timeout", b"2S"),))
    server = ServerConnection(now=0.0)
    first, second = (
        event for event in server.receive(client_hello() + b"".join(connection.take()), 0.0) if type(event) is Request
    )
    assert first.head.get(b"x-tower") == second.head.get(b"x-tower") == b"7"
    assert second.head.get(b"grpc-timeout") == b"2S"
    assert len(encode(((b"grpc-timeout", b"2S"),))) + len(pairs) == len(connection._out.encoder.encode(pairs)) + 17


def client_hello() -> bytes:
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + told()


def test_a_request_in_pieces():
    bench = client()
    stream = bench.connection.request(POST, (b"a",), end=False)
    bench.connection.send_data(stream, (b"b",))
    bench.connection.send_data(stream, (b"c",), end=True)
    head, *bodies = bench.collect()
    assert isinstance(head, HeadersFrame)
    assert b"".join(bytes(body.data) for body in bodies) == b"abc"
    assert "END_STREAM" in bodies[-1].flags


def test_a_request_without_a_body_ends_with_its_head():
    bench = client()
    bench.connection.request(GET)
    (head,) = bench.collect()
    assert "END_STREAM" in head.flags


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        pytest.param(((4, 3),), 5, id="the stream's window"),
        pytest.param(((4, 1 << 20),), 100_000, id="the connection's window"),
        pytest.param((), 20_000, id="a frame"),
        pytest.param(((1, 0),), 5, id="a changed table"),
    ],
)
def test_a_request_that_does_not_fit_at_once_goes_as_it_can(settings, size):
    bench = client()
    bench.hear(told(*settings))
    stream = bench.connection.request(POST, (b"x" * size,))
    bench.collect()
    bench.hear(update(0, 1 << 20), update(stream.id, 1 << 20))
    assert sum(len(frame.data) for frame in bench.said(DataFrame)) == size
    assert not stream.local_open


def test_a_large_head_does_not_hinder_its_body():
    bench = client()
    bench.connection.request((*POST, (b"x-large", b"v" * 20_000)), (b"x",))
    assert [frame.type for frame in bench.collect()] == [1, 9, 0]


def test_section_5_1_2_the_servers_limit_is_the_capacity():
    bench = client()
    assert bench.connection.capacity == STREAM_ID_MAX
    bench.hear(told((3, 1)))
    assert bench.connection.capacity == 1
    bench.connection.request(POST, (b"x",))
    assert bench.connection.capacity == 0
    with pytest.raises(ValueError, match="capacity"):
        bench.connection.request(POST)
    bench.hear(ANSWER)
    assert bench.connection.capacity == 1
    bench.connection.request(GET)
    bench.hear(told((3, 0)))
    assert bench.connection.capacity == 0


def test_section_5_1_1_ids_run_out():
    bench = client()
    bench.connection._next = STREAM_ID_MAX
    bench.connection.request(GET)
    assert bench.connection.capacity == 0


def test_section_8_1_interim_answers_are_passed_over():
    bench = client()
    bench.connection.request(GET)
    (event,) = bench.hear(headers(1, ((b":status", b"103"), (b"link", b"x")), end=False), headers(1, OK))
    assert event.head.status == 200


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (headers(1, ((b":status", b"100"),)), "INTERIM_RESPONSE_INVALID"),
        (headers(1, ((b":status", b"101"),), end=False), "INTERIM_RESPONSE_INVALID"),
        (data(1, b"x"), "DATA_BEFORE_HEADERS"),
        (headers(1, GET), "MISSING_STATUS"),
        (headers(1, (*OK, (b"content-length", b"3"))), "CONTENT_LENGTH_WRONG"),
        (headers(1, (*OK, (b"content-length", b"3")), end=False) + data(1, b"toolong"), "CONTENT_LENGTH_WRONG"),
        (headers(1, OK, end=False) + headers(1, END, end=False), "TRAILERS_WITHOUT_END"),
        (headers(1, OK, end=False) + data(1, b"x", end=True) + headers(1, END), "STREAM_CLOSED"),
    ],
)
def test_section_8_1_1_answers_that_are_malformed(wrong, reason):
    bench = client()
    stream = bench.connection.request(GET, end=False)
    *_, event = bench.hear(wrong)
    assert isinstance(event, Reset)
    assert (event.stream, event.reason) == (stream, reason)
    assert bench.resets


def test_the_answer_to_head_may_name_the_length_it_does_not_have():
    bench = client()
    bench.connection.request(((b":method", b"HEAD"), *GET[1:]))
    assert bench.hear(headers(1, (*OK, (b"content-length", b"3"))))[0].ended


@pytest.mark.parametrize("wrong", [headers(3, OK), headers(2, OK), data(3, b"x"), update(5, 1), reset(5)])
def test_section_5_1_a_server_may_not_speak_on_streams_nobody_opened(wrong):
    bench = client()
    bench.connection.request(GET)
    bench.hear(wrong)
    assert bench.reason == "STREAM_IDLE"


def test_section_5_1_nor_on_closed_ones():
    bench = client()
    bench.connection.request(GET)
    bench.hear(headers(1, OK))
    bench.hear(headers(1, OK))
    assert bench.reason == "STREAM_CLOSED"


def test_an_answer_to_a_call_that_was_cancelled_is_ignored():
    bench = client()
    stream = bench.connection.request(POST, (b"x",))
    bench.connection.reset(stream)
    bench.connection.request(POST, (b"x",))
    table = frame(HEADERS, END_HEADERS, 1, encode(OK) + b"\x40\x03x-a\x011")
    assert bench.hear(table, data(1, b"world"), headers(1, END)) == []
    (event,) = bench.hear(frame(HEADERS, END_HEADERS, 3, encode(OK) + b"\xbe"))
    assert event.head.get(b"x-a") == b"1"
    bench.hear(data(1, b"x"))
    assert bench.reason == "STREAM_CLOSED"


def test_heads_without_end_on_a_cancelled_call_are_counted():
    bench = client()
    bench.connection.reset(bench.connection.request(GET))
    for _ in range(300):
        bench.hear(headers(1, OK, end=False))
    assert bench.reason == "TOO_MANY_OTHER_FRAMES"


def test_a_refused_call_was_not_executed():
    bench = client()
    stream = bench.connection.request(GET)
    (event,) = bench.hear(reset(1, ErrorCode.REFUSED_STREAM))
    assert (event.stream, event.code, event.by_peer) == (stream, ErrorCode.REFUSED_STREAM, True)


def test_an_answer_before_the_requests_end_leaves_it_to_the_owner():
    bench = client()
    stream = bench.connection.request(POST, (b"x",), end=False)
    bench.hear(ANSWER)
    assert (stream.remote_open, stream.local_open) == (False, True)
    bench.connection.reset(stream, ErrorCode.NO_ERROR)
    bench.collect()
    assert bench.resets == [(1, 0)]
    assert bench.connection.open_streams == 0


def test_windows_are_given_back_to_a_server_as_well():
    bench = client(Limits(stream_window_bytes=1000))
    stream = bench.connection.request(GET)
    bench.hear(headers(1, OK, end=False), data(1, b"x" * 600))
    bench.connection.acknowledge(stream, 600)
    bench.collect()
    assert [(frame.stream_id, frame.window_increment) for frame in bench.frames if frame.type == 8] == [(1, 600)]
