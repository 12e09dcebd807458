"""The frames that steer a connection (RFC 9113, sections 6.5, 6.7, 6.8)."""

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame

from tests.unit.sdk.wire.peers import GET, OK, PREFACE, Bench, client, data, fields, headers, parse, reset, server, told
from waypost.wire import (
    Block,
    ClientConnection,
    ErrorCode,
    GoAway,
    Headers,
    Limits,
    Pong,
    Reset,
    ServerConnection,
)
from waypost.wire.control import DRAIN_PAYLOAD
from waypost.wire.frames import ACK, GOAWAY, PING, SETTINGS, STREAM_ID_MAX, frame, goaway
from waypost.wire.settings import HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE

ANSWER, END = Block(OK), Block([(b"grpc-status", b"0")])


def test_section_6_5_settings_are_acknowledged():
    bench = server()
    bench.hear(told((MAX_FRAME_SIZE, 1 << 15)), told())
    assert [(frame.settings, "ACK" in frame.flags) for frame in bench.said(SettingsFrame)] == [({}, True)] * 2


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(told((2, 2)), ErrorCode.PROTOCOL_ERROR, id="ENABLE_PUSH above 1"),
        pytest.param(told((4, 1 << 31)), ErrorCode.FLOW_CONTROL_ERROR, id="INITIAL_WINDOW_SIZE above the maximum"),
        pytest.param(told((5, 16383)), ErrorCode.PROTOCOL_ERROR, id="MAX_FRAME_SIZE below the minimum"),
        pytest.param(told((5, 1 << 24)), ErrorCode.PROTOCOL_ERROR, id="MAX_FRAME_SIZE above the maximum"),
        pytest.param(told((8, 2)), ErrorCode.PROTOCOL_ERROR, id="ENABLE_CONNECT_PROTOCOL above 1"),
        pytest.param(frame(SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR, id="half an entry"),
        pytest.param(frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR, id="on a stream"),
        pytest.param(frame(SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR, id="acknowledgement with entries"),
    ],
)
def test_section_6_5_2_wrong_settings(wrong, code):
    bench = server()
    bench.hear(wrong)
    assert bench.reason
    assert bench.connection.fault.code is code


def test_section_6_5_2_unknown_settings_are_ignored():
    bench = server()
    bench.hear(told((0xFF, 7), (2, 1), (6, 100), (8, 1)))
    assert bench.reason is None


def test_more_settings_than_exist_are_too_many():
    bench = server()
    bench.hear(told(*((0xFF, 0),) * 65))
    assert bench.reason == "SETTINGS_TOO_LARGE"


def test_section_6_5_2_a_server_may_not_enable_push():
    bench = client()
    bench.hear(told((2, 1)))
    assert bench.reason == "SETTINGS_INVALID"


def test_section_6_5_2_larger_frames_are_used_when_allowed():
    bench = server()
    (event,) = bench.hear(told((MAX_FRAME_SIZE, 1 << 20), (INITIAL_WINDOW_SIZE, 1 << 20)), headers(1))
    bench.connection.send_headers(event.stream, OK)
    bench.connection.send_data(event.stream, (b"x" * 60_000,), end=True)
    _, body = bench.collect()
    assert len(body.data) == 60_000


def test_section_4_3_1_a_smaller_table_of_the_peers_is_acknowledged_in_the_next_block():
    """By the warm path as well, whose blocks are constants."""
    bench = server()
    one, two = bench.hear(told((HEADER_TABLE_SIZE, 0)), headers(1), headers(3))
    bench.connection.reply(one.stream, ANSWER, (b"x",), END)
    bench.connection.reply(two.stream, ANSWER, (b"x",), END)
    head, second, *_ = bench.collect()
    assert bytes(head.data)[0] == 0x20
    assert fields(second) == list(OK)


def test_section_4_3_1_a_smaller_table_of_ours_is_insisted_on():
    bench = Bench(ServerConnection(Limits(header_table_bytes=100), now=0.0))
    bench.hear(PREFACE, told(), headers(1))
    assert bench.reason is None
    bench.hear(frame(SETTINGS, ACK, 0), headers(3))
    assert bench.reason == "HPACK_INVALID"


def test_section_6_7_pings_are_answered():
    bench = server()
    bench.hear(frame(PING, 0, 0, b"12345678"))
    (pong,) = bench.said(PingFrame)
    assert (pong.opaque_data, set(pong.flags)) == (b"12345678", {"ACK"})


def test_section_6_7_the_owner_hears_the_answer_to_its_ping():
    bench = client()
    bench.connection.ping(b"12345678")
    (ping,) = bench.collect()
    (event,) = bench.hear(frame(PING, ACK, 0, ping.opaque_data))
    assert isinstance(event, Pong)
    assert event.payload == b"12345678"


def test_section_6_8_a_shutdown_loses_no_call():
    """First every stream is still taken; when the client has seen that, those it opened meanwhile are the last."""
    bench = server()
    (first,) = bench.hear(headers(1))
    bench.connection.shutdown(0.0)
    bench.connection.shutdown(0.0)
    goodbye, ping = bench.collect()
    assert goodbye.last_stream_id == STREAM_ID_MAX
    (second,) = bench.hear(headers(3))
    assert bench.hear(frame(PING, ACK, 0, ping.opaque_data), headers(5)) == []
    assert bench.said(GoAwayFrame)[-1].last_stream_id == 3
    assert bench.resets == [(5, ErrorCode.REFUSED_STREAM)]
    for event in (first, second):
        assert not bench.connection.closed
        bench.connection.reply(event.stream, ANSWER, (b"x",), END)
    assert bench.connection.closed
    assert bench.reason is None
    assert len(bench.collect()) == 6


def test_section_6_8_a_client_that_does_not_answer_the_ping_does_not_hold_the_shutdown_up():
    bench = server()
    bench.connection.shutdown(5.0)
    assert bench.connection.tick(5.0) == 6.0
    assert not bench.connection.closed
    bench.connection.tick(6.0)
    assert bench.connection.closed
    bench.connection.shutdown(7.0)
    assert [frame.last_stream_id for frame in bench.collect() if isinstance(frame, GoAwayFrame)] == [STREAM_ID_MAX, 0]


def test_an_answer_to_a_ping_of_a_shutdown_that_is_not_under_way_is_nothing():
    bench = server()
    bench.hear(frame(PING, ACK, 0, DRAIN_PAYLOAD))
    assert not bench.connection.closed
    bench = client()
    bench.hear(frame(PING, ACK, 0, DRAIN_PAYLOAD))
    assert not bench.connection.closed


def test_section_6_8_a_server_whose_client_goes_finishes_what_it_has():
    bench = server()
    request, event = bench.hear(headers(1), goaway(0, 0, b"bye"))
    assert (event.last_stream_id, event.code, event.debug) == (0, 0, b"bye")
    assert not bench.connection.closed
    bench.connection.reply(request.stream, ANSWER, (b"x",), END)
    assert bench.connection.closed


def test_section_6_8_a_client_knows_which_calls_were_not_taken():
    bench = client()
    one, two = (bench.connection.request(GET) for _ in range(2))
    event, gone = bench.hear(goaway(1, 0xBEEF))
    assert isinstance(event, GoAway)
    assert isinstance(gone, Reset)
    assert (gone.stream, gone.code, gone.by_peer) == (two, ErrorCode.REFUSED_STREAM, True)
    assert bench.connection.capacity == 0
    (answer,) = bench.hear(headers(1, OK))
    assert (type(answer), answer.stream) == (Headers, one)
    assert bench.connection.closed
    assert bench.reason is None


def test_a_client_that_shuts_down_waits_for_its_answers():
    bench = client()
    bench.connection.request(GET)
    bench.connection.shutdown(0.0)
    bench.connection.shutdown(0.0)
    assert len([frame for frame in bench.collect() if isinstance(frame, GoAwayFrame)]) == 1
    assert bench.connection.capacity == 0
    bench.hear(headers(1, OK))
    assert bench.connection.closed


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(frame(GOAWAY, 0, 1, bytes(8)), "STREAM_ID_INVALID"), (frame(GOAWAY, 0, 0, bytes(7)), "FRAME_SIZE_INVALID")],
)
def test_section_6_8_wrong_goodbyes(wrong, reason):
    bench = server()
    bench.hear(wrong)
    assert bench.reason == reason


def test_an_owner_may_end_it_for_a_limit_of_its_own():
    bench = server()
    (event,) = bench.hear(headers(1))
    bench.connection.fail(ErrorCode.ENHANCE_YOUR_CALM, "SLOW_READER", "nothing was read for a minute")
    bench.connection.fail(ErrorCode.NO_ERROR, "AGAIN", "only the first counts")
    bench.collect()
    assert bench.reason == "SLOW_READER"
    assert bench.connection.fault.code is ErrorCode.ENHANCE_YOUR_CALM
    assert event.stream.closed


def test_a_client_that_finds_no_place_knows_that_nothing_was_executed():
    connection = ServerConnection(Limits(), now=0.0)
    connection.fail(ErrorCode.REFUSED_STREAM, "TOO_MANY_CONNECTIONS", "1024 are open already")
    *_, goodbye = parse(b"".join(connection.take()))
    assert (goodbye.last_stream_id, goodbye.error_code) == (0, ErrorCode.REFUSED_STREAM)


def test_a_lost_socket_ends_every_stream():
    bench = server()
    one, two = bench.hear(told((INITIAL_WINDOW_SIZE, 0)), headers(1), headers(3, end=False))
    bench.connection.send_headers(one.stream, OK)
    bench.connection.send_data(one.stream, (b"x",))
    bench.connection.lose()
    assert one.stream.closed
    assert two.stream.closed
    assert bench.connection.unsent_bytes == bench.connection._out.pending
    assert bench.connection.closed
    assert bench.reason is None
    assert bench.hear(data(3, b"x"), reset(3)) == []


@pytest.mark.parametrize("make", [ServerConnection, ClientConnection])
def test_a_connection_that_ends_before_it_began_says_so(make):
    bench = Bench(make(now=0.0))
    bench.connection.take()
    bench.hear(frame(PING, 0, 0, bytes(8)))
    assert bench.said(GoAwayFrame)[0].last_stream_id == 0
