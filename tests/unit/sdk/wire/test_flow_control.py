"""Windows in both directions (RFC 9113, sections 5.2 and 6.9), and fairness behind them."""

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, WindowUpdateFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.wire.peers import OK, POST, PREFACE, Bench, data, headers, reset, server, told, update
from waypost.wire import Block, ErrorCode, Limits, Request, ServerConnection
from waypost.wire.frames import ACK, DATA, END_STREAM, PADDED, SETTINGS, WINDOW_MAX, WINDOW_UPDATE, frame
from waypost.wire.outbox import TURN_BYTES_MAX
from waypost.wire.settings import INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE

ANSWER, END = Block(OK), Block([(b"grpc-status", b"0")])
SMALL = Limits(connection_window_bytes=65535, stream_window_bytes=1000)


def bodies(frames) -> list[tuple[int, int]]:
    """(stream, bytes) of each DATA frame."""
    return [(frame.stream_id, len(frame.data)) for frame in frames if isinstance(frame, DataFrame)]


def updates(bench: Bench) -> list[tuple[int, int]]:
    return [(frame.stream_id, frame.window_increment) for frame in bench.said(WindowUpdateFrame)]


def test_section_6_9_1_an_answer_waits_for_the_streams_window():
    bench = server()
    (event,) = bench.hear(told((INITIAL_WINDOW_SIZE, 3)), headers(1))
    bench.connection.reply(event.stream, ANSWER, (b"hello",), END)
    assert bodies(bench.collect()) == [(1, 3)]
    assert event.stream.unsent == 2
    assert not bench.connection.wants_write
    bench.hear(update(1, 1))
    bench.hear(update(1, 9))
    assert bodies(bench.frames) == [(1, 3), (1, 1), (1, 1)]
    assert isinstance(bench.frames[-1], HeadersFrame)
    assert event.stream.closed


def test_section_6_9_1_an_answer_waits_for_the_connections_window():
    bench = server()
    one, two = bench.hear(told((INITIAL_WINDOW_SIZE, 1 << 20)), headers(1), headers(3))
    bench.connection.reply(one.stream, ANSWER, (b"x" * 65530,), END)
    bench.connection.reply(two.stream, ANSWER, (b"y" * 10,), END)
    bench.collect()
    assert sum(size for _, size in bodies(bench.frames)) == 65535
    assert bench.connection.unsent_bytes == 5
    bench.hear(update(0, 100))
    assert sum(size for _, size in bodies(bench.frames)) == 65540
    assert bench.connection.open_streams == bench.connection.unsent_bytes == 0


def test_an_answer_waits_its_turn_behind_others():
    """Even if it would fit: what waits for the connection's window must not be overtaken for ever."""
    bench = server()
    one, two = bench.hear(told((INITIAL_WINDOW_SIZE, 1 << 20)), headers(1), headers(3))
    bench.connection.reply(one.stream, ANSWER, (b"x" * 40_000,), END)
    bench.connection.reply(two.stream, ANSWER, (b"y" * 10,), END)
    assert bodies(bench.collect()) == [(1, 16384), (3, 10), (1, 16384), (1, 40_000 - 2 * 16384)]


def test_an_empty_answer_does_not_pass_what_a_shut_window_holds():
    bench = server()
    (event,) = bench.hear(told((INITIAL_WINDOW_SIZE, 0)), headers(1))
    bench.connection.send_data(event.stream, (b"before",))
    bench.connection.reply(event.stream, ANSWER, (), END)
    assert bodies(bench.collect()) == []
    assert bench.connection.unsent_bytes == event.stream.unsent == 6
    bench.hear(update(1, 6))
    assert bodies(bench.frames) == [(1, 6)]
    assert bench.connection.unsent_bytes == 0
    assert event.stream.closed


def test_streams_take_turns():
    bench = server()
    events = bench.hear(told((INITIAL_WINDOW_SIZE, 1 << 20)), update(0, 1 << 20), headers(1), headers(3), headers(5))
    for event in events:
        bench.connection.reply(event.stream, ANSWER, (b"x" * 30_000,), END)
    assert [stream_id for stream_id, _ in bodies(bench.collect())] == [1, 3, 5, 1, 3, 5]


def test_a_stream_whose_window_is_shut_holds_up_nobody():
    bench = server()
    one, two = bench.hear(headers(1), headers(3))
    bench.connection.reply(one.stream, ANSWER, (b"x" * 65536,), END)
    bench.collect()
    bench.hear(update(0, 1000))
    bench.connection.reply(two.stream, ANSWER, (b"y" * 100,), END)
    assert bodies(bench.collect()) == [(3, 100)]


def test_one_write_is_no_larger_than_wanted():
    bench = server(Limits(write_bytes=40_000))
    (event,) = bench.hear(told((INITIAL_WINDOW_SIZE, 1 << 20)), update(0, 1 << 20), headers(1))
    bench.connection.reply(event.stream, ANSWER, (b"x" * 100_000,), END)
    writes = []
    while bench.connection.wants_write:
        writes.append(sum(size for _, size in bodies(bench.collect())))
    assert sum(writes) == 100_000
    assert max(writes) <= 40_000 + 16384


def test_a_turn_is_bounded_however_large_frames_may_be():
    bench = server()
    (event,) = bench.hear(
        told((INITIAL_WINDOW_SIZE, 1 << 20), (MAX_FRAME_SIZE, 1 << 20)), update(0, 1 << 20), headers(1)
    )
    bench.connection.reply(event.stream, ANSWER, (b"x" * 300_000,), END)
    assert max(size for _, size in bodies(bench.collect())) == TURN_BYTES_MAX


def test_section_6_9_2_open_streams_follow_the_initial_window_even_below_zero():
    bench = server()
    one, two = bench.hear(told((INITIAL_WINDOW_SIZE, 10)), headers(1), headers(3))
    bench.connection.send_headers(one.stream, OK)
    bench.connection.send_data(one.stream, (b"x" * 20,))
    bench.collect()
    bench.hear(told((INITIAL_WINDOW_SIZE, 4)))
    assert one.stream.send_window == -6
    assert two.stream.send_window == 4
    bench.hear(update(1, 6))
    assert sum(size for _, size in bodies(bench.frames)) == 10
    bench.hear(update(1, 1))
    assert sum(size for _, size in bodies(bench.frames)) == 11
    bench.hear(told((INITIAL_WINDOW_SIZE, 100)))
    assert sum(size for _, size in bodies(bench.frames)) == 20


def test_section_6_9_2_a_stream_whose_window_shuts_loses_its_turn():
    bench = server(Limits(write_bytes=100))
    one, two = bench.hear(headers(1), headers(3))
    for event in (one, two):
        bench.connection.send_headers(event.stream, OK)
        bench.connection.send_data(event.stream, (b"x" * 20_000,))
    bench.collect()
    bench.hear(told((INITIAL_WINDOW_SIZE, 0)))
    assert not bench.connection.wants_write
    assert bodies(bench.frames) == [(1, 16384)]
    bench.hear(update(3, 65535))
    bench.collect()
    assert bodies(bench.frames) == [(1, 16384), (3, 16384), (3, 20_000 - 16384)]


def test_section_6_9_2_a_window_may_not_grow_above_the_maximum():
    bench = server()
    bench.hear(headers(1), update(1, WINDOW_MAX - 65535), told((INITIAL_WINDOW_SIZE, 65536)))
    assert bench.reason == "WINDOW_OVERFLOW"


def test_section_6_9_1_the_connections_window_may_not_either():
    bench = server()
    bench.hear(update(0, WINDOW_MAX))
    assert bench.reason == "WINDOW_OVERFLOW"


def test_section_6_9_1_nor_by_an_update_of_the_stream():
    bench = server()
    *_, event = bench.hear(headers(1), update(1, WINDOW_MAX))
    assert event.reason == "WINDOW_OVERFLOW"
    assert bench.resets == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


@pytest.mark.parametrize("stream_id", [0, 1])
def test_section_6_9_an_update_by_nothing_is_wrong(stream_id):
    bench = server()
    bench.hear(headers(1), update(stream_id, 0))
    assert bench.resets == [(1, ErrorCode.PROTOCOL_ERROR)] * stream_id
    assert bench.reason == (None if stream_id else "WINDOW_UPDATE_INVALID")


def test_section_6_9_an_update_has_four_bytes():
    bench = server()
    bench.hear(frame(WINDOW_UPDATE, 0, 0, bytes(3)))
    assert bench.reason == "FRAME_SIZE_INVALID"


def test_windows_are_given_back_as_the_owner_reads():
    bench = server(SMALL)
    head, body = bench.hear(headers(1, POST, end=False), data(1, b"x" * 800))
    bench.connection.acknowledge(head.stream, 400)
    bench.collect()
    assert updates(bench) == []
    bench.connection.acknowledge(head.stream, 400)
    bench.collect()
    assert updates(bench) == [(1, 800)]
    bench.connection.acknowledge(body.stream, 1 << 30)
    assert head.stream.unread == 0


@given(st.lists(st.tuples(st.sampled_from(["acknowledge", "data"]), st.integers(0, 900)), max_size=30))
def test_every_byte_is_given_back_once_to_each_window(steps):
    """Whatever is acknowledged, even too much, and after the stream has ended as well."""
    bench = server(SMALL)
    connection = bench.connection
    (head,) = bench.hear(headers(1, POST, end=False))
    stream, sent, acknowledged = head.stream, 0, 0
    for step, size in steps:
        if step == "acknowledge":
            acknowledged += min(size, stream.unread)
            connection.acknowledge(stream, size)
        elif size <= stream.receive_window:
            bench.hear(data(1, b"x" * size))
            sent += size
        assert connection._window + connection._owed + stream.unread == SMALL.connection_window_bytes
        assert stream.receive_window + stream.consumed == SMALL.stream_window_bytes - sent + acknowledged
    bench.hear(reset(1))
    connection.acknowledge(stream, 1 << 20)
    assert connection._window + connection._owed == SMALL.connection_window_bytes
    assert bench.reason is None


def test_the_connections_window_is_given_back_when_half_of_it_was_read():
    bench = server(Limits(connection_window_bytes=65535, stream_window_bytes=1 << 20))
    head, *_ = bench.hear(headers(1, POST, end=False), *(data(1, b"x" * 16000) for _ in range(3)))
    bench.connection.acknowledge(head.stream, 20_000)
    bench.connection.acknowledge(head.stream, 28_000)
    bench.collect()
    assert updates(bench) == [(0, 48_000)]


def test_a_stream_that_is_over_gives_back_what_nobody_read():
    bench = server(Limits(connection_window_bytes=65535))
    for stream_id in range(1, 41, 2):
        (event,) = bench.hear(headers(stream_id, POST, end=False), data(stream_id, b"x" * 10_000, end=True))
        assert isinstance(event, Request)
        bench.connection.reply(event.stream, ANSWER, (b"",), END)
    assert bench.reason is None
    assert sum(size for _, size in updates(bench)) >= 200_000 - 65535


def test_a_reset_stream_gives_it_back_as_well():
    bench = server(Limits(connection_window_bytes=65535))
    for stream_id in range(1, 41, 2):
        bench.hear(headers(stream_id, POST, end=False), data(stream_id, b"x" * 10_000), reset(stream_id))
    assert bench.reason is None


def test_section_6_9_1_padding_counts_and_is_given_back_at_once():
    bench = server(SMALL)
    bench.hear(headers(1, POST, end=False), *(frame(DATA, PADDED, 1, bytes([249]) + bytes(249)) for _ in range(4)))
    assert updates(bench) == [(1, 500), (1, 500)]


@pytest.mark.parametrize("fitting", [True, False])
def test_section_6_9_1_a_stream_keeps_to_its_window(fitting):
    bench = server(SMALL)
    bench.hear(headers(1, POST, end=False), data(1, b"x" * 600), data(1, b"x" * (400 if fitting else 401)))
    assert bench.resets == ([] if fitting else [(1, ErrorCode.FLOW_CONTROL_ERROR)])


def test_section_6_9_1_so_does_a_whole_call():
    bench = server(SMALL)
    bench.hear(headers(1, POST, end=False), data(1, b"x" * 1001, end=True))
    assert bench.resets == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


def test_section_6_9_1_a_client_keeps_to_the_connections_window():
    bench = server(Limits(connection_window_bytes=65535, stream_window_bytes=1 << 20))
    bench.hear(headers(1, POST, end=False), *(data(1, b"x" * 16_000) for _ in range(4)))
    assert bench.reason is None
    bench.hear(data(1, b"x" * 1536))
    assert bench.reason == "WINDOW_EXCEEDED"


def test_frames_on_a_stream_we_reset_keep_to_its_window_too():
    bench = server(SMALL)
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reset(event.stream)
    bench.hear(data(1, b"x" * 1000))
    assert bench.reason is None
    bench.hear(data(1, b"x"))
    assert bench.reason == "WINDOW_EXCEEDED"


def test_section_6_9_3_a_client_may_go_by_the_default_until_it_knows_better():
    bench = Bench(ServerConnection(SMALL, now=0.0))
    bench.hear(PREFACE, told(), headers(1, POST, end=False), headers(3, POST, end=False), data(1, b"x" * 1500))
    bench.hear(frame(SETTINGS, ACK, 0))
    assert bench.resets == []
    bench.hear(frame(DATA, END_STREAM, 1, b"x"), data(3, b"x" * 1000))
    assert bench.resets == [(1, ErrorCode.FLOW_CONTROL_ERROR)]
    bench.hear(frame(SETTINGS, ACK, 0), data(3, b"x"))
    assert bench.resets[1:] == [(3, ErrorCode.FLOW_CONTROL_ERROR)]


def test_chunks_are_cut_without_copies():
    bench = server()
    (event,) = bench.hear(told((INITIAL_WINDOW_SIZE, 1 << 20)), headers(1))
    bench.connection.send_headers(event.stream, OK)
    bench.connection.send_data(event.stream, (b"a" * 10_000, b"b" * 10_000), end=True)
    output = bench.connection.take()
    assert [type(part) for part in output] == [bytes, bytes, bytes, memoryview, bytes, memoryview]
    assert b"".join(output).count(b"b") == 10_000
