"""Every limit at its edge: what is just allowed, and the named fault behind it."""

import pytest

from tests.unit.sdk.wire.peers import GET, OK, POST, client, data, headers, reset, server, told, update
from waypost.wire import Block, ErrorCode, Limits, Rate
from waypost.wire.frames import ACK, CONTINUATION, DATA, HEADERS, PADDED, PING, PRIORITY, SETTINGS, frame, goaway
from waypost.wire.hpack import encode
from waypost.wire.limits import Meter

ANSWER, END = Block(OK), Block([(b"grpc-status", b"0")])
TWO = Rate(burst=2, per_s=1)

FLOODS = [
    ("pings", frame(PING, 0, 0, bytes(8)), "TOO_MANY_PINGS"),
    ("pings", frame(PING, ACK, 0, bytes(8)), "TOO_MANY_PINGS"),
    ("settings", told(), "TOO_MANY_SETTINGS"),
    ("settings", frame(SETTINGS, ACK, 0), "TOO_MANY_SETTINGS"),
    ("priorities", frame(PRIORITY, 0, 1, bytes(5)), "TOO_MANY_PRIORITIES"),
    ("empty_data", data(1), "TOO_MANY_EMPTY_FRAMES"),
    ("empty_data", frame(DATA, PADDED, 1, b"\x02" + bytes(2)), "TOO_MANY_EMPTY_FRAMES"),
    ("small_window_updates", update(0, 1), "TOO_MANY_WINDOW_UPDATES"),
    ("small_window_updates", update(1, 1023), "TOO_MANY_WINDOW_UPDATES"),
    ("other_frames", frame(0x16, 0, 0), "TOO_MANY_OTHER_FRAMES"),
    ("other_frames", goaway(0, 0), "TOO_MANY_OTHER_FRAMES"),
]


@pytest.mark.parametrize(("limit", "flood", "reason"), FLOODS)
def test_frames_without_progress_are_allowed_at_a_rate(limit, flood, reason):
    bench = server()
    bench = server(Limits(**{limit: TWO, "settings": TWO if limit == "settings" else Rate(9, 9)}))
    bench.now = 10.0
    bench.hear(headers(1, POST, end=False), flood)
    bench.hear(flood)
    bench.hear(flood, after=1.0)
    assert bench.reason is None
    bench.hear(flood, after=0.5)
    assert bench.reason == reason
    assert bench.connection.fault.code is ErrorCode.ENHANCE_YOUR_CALM


def test_empty_frames_on_a_stream_we_reset_count_as_well():
    bench = server(Limits(empty_data=TWO))
    (event,) = bench.hear(headers(1, POST, end=False))
    bench.connection.reset(event.stream)
    bench.hear(data(1), data(1))
    assert bench.reason is None
    bench.hear(data(1))
    assert bench.reason == "TOO_MANY_EMPTY_FRAMES"


def test_windows_in_decent_steps_are_no_flood():
    bench = server(Limits(small_window_updates=TWO))
    bench.hear(headers(1), *(update(1, 1024) for _ in range(100)))
    assert bench.reason is None


def test_rapid_resets_end_the_connection():
    """CVE-2023-44487."""
    bench = server(Limits(resets=TWO))
    bench.hear(headers(1), reset(1), headers(3), reset(3))
    assert bench.reason is None
    bench.hear(headers(5), reset(5))
    assert bench.reason == "TOO_MANY_RESETS"


def test_provoked_resets_end_the_connection():
    """CVE-2025-8671: the client makes us reset."""
    bench = server(Limits(provoked_resets=TWO))
    bench.hear(headers(1), update(1, 0), headers(3, (*GET, (b"X", b"1"))))
    assert bench.reason is None
    bench.hear(headers(5), headers(5))
    assert bench.reason == "TOO_MANY_STREAM_ERRORS"


def test_who_gets_on_may_cancel():
    bench = server(Limits(resets=Rate(burst=2, per_s=0, per_progress=1)))
    for stream_id in range(1, 400, 4):
        done, _, _ = bench.hear(headers(stream_id), headers(stream_id + 2), reset(stream_id + 2))
        bench.connection.reply(done.stream, ANSWER, (b"x",), END)
    assert bench.reason is None


def test_data_is_progress_for_pings_but_not_for_resets():
    limits = Limits(pings=Rate(2, 0, 1), resets=Rate(2, 0, 1))
    bench = server(limits)
    bench.hear(headers(1, POST, end=False), *(data(1, b"x") + frame(PING, 0, 0, bytes(8)) for _ in range(50)))
    assert bench.reason is None
    for stream_id in (3, 5, 7):
        bench.hear(headers(stream_id, POST, end=False), data(stream_id, b"x"), reset(stream_id))
    assert bench.reason == "TOO_MANY_RESETS"


def test_a_server_that_answers_early_is_not_resetting_rapidly():
    bench = client(Limits(resets=TWO))
    for _ in range(10):
        stream = bench.connection.request(POST, end=False)
        bench.hear(headers(stream.id, OK), reset(stream.id, 0))
    assert bench.reason is None
    for _ in range(3):
        stream = bench.connection.request(POST, end=False)
        bench.hear(reset(stream.id))
    assert bench.reason is not None


def test_dribbled_data_is_no_progress():
    """CVE-2019-9511: windows that are opened byte by byte make an answer of many small frames."""
    bench = server(Limits(small_window_updates=Rate(burst=10, per_s=0, per_progress=1)))
    (event,) = bench.hear(told((4, 0)), headers(1))
    bench.connection.reply(event.stream, ANSWER, (b"x" * 1000,), END)
    for _ in range(10):
        bench.hear(update(1, 1))
    assert bench.reason is None
    bench.hear(update(1, 1))
    assert bench.reason == "TOO_MANY_WINDOW_UPDATES"


def test_who_reads_large_answers_may_ping_and_open_windows_in_small_steps():
    bench = server(Limits(pings=Rate(2, 0, 1), small_window_updates=Rate(2, 0, 4), write_bytes=1))
    (event,) = bench.hear(told((4, 1 << 20)), headers(1))
    bench.connection.reply(event.stream, ANSWER, (b"x" * 1_000_000,), END)
    bench.hear(update(0, 1 << 20))
    while event.stream.unsent:
        bench.hear(frame(PING, 0, 0, bytes(8)), update(1, 10), update(0, 10))
    assert bench.reason is None


def test_interim_answers_without_end_are_a_flood():
    bench = client(Limits(other_frames=TWO))
    bench.connection.request(GET)
    bench.hear(*(headers(1, ((b":status", b"103"),), end=False) for _ in range(3)))
    assert bench.reason == "TOO_MANY_OTHER_FRAMES"


def test_time_fills_a_bucket_no_further_than_its_burst():
    meter = Meter("X", Rate(burst=2, per_s=1), 0.0)
    for _ in range(2):
        meter.spend(1000.0, 0)
    with pytest.raises(Exception, match="X"):
        meter.spend(1000.0, 0)


def test_a_clock_that_goes_back_takes_nothing_away():
    meter = Meter("X", Rate(burst=2, per_s=1), 100.0)
    meter.spend(0.0, 0)
    meter.spend(0.0, 0)


def test_a_header_block_has_a_size():
    bench = server(Limits(header_block_bytes=1 << 14))
    bench.hear(frame(HEADERS, 0, 1, bytes(1 << 14)), frame(CONTINUATION, 0, 1, b"x"))
    assert bench.reason == "HEADER_BLOCK_TOO_LARGE"
    bench = server(Limits(header_block_bytes=1 << 14))
    bench.hear(frame(HEADERS, 0, 1, bytes((1 << 14) + 1))[:9])
    assert bench.reason == "HEADER_BLOCK_TOO_LARGE"


def test_a_header_block_has_a_number_of_frames():
    """CVE-2024-27316."""
    bench = server(Limits(continuation_frames=2))
    bench.hear(frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1), frame(CONTINUATION, 0, 1))
    assert bench.reason is None
    bench.hear(frame(CONTINUATION, 0, 1))
    assert bench.reason == "TOO_MANY_CONTINUATIONS"


def test_a_header_list_has_a_size_that_costs_its_stream_only():
    bench = server(Limits(header_list_bytes=300))
    head = sum(len(name) + len(value) + 32 for name, value in GET)
    fitting, large = (*GET, (b"x", b"v" * (300 - head - 33))), (*GET, (b"x", b"v" * (300 - head - 32)))
    (event,) = bench.hear(headers(1, fitting), headers(3, large))
    assert event.stream.id == 1
    assert bench.resets == [(3, ErrorCode.ENHANCE_YOUR_CALM)]


def test_a_small_block_cannot_unpack_into_a_large_list():
    bench = server()
    bomb = b"\x40\x01a\x7f\xd0\x1e" + b"v" * 4047 + b"\xbe" * 10_000
    bench.hear(frame(HEADERS, 5, 1, encode(GET) + bomb))
    assert bench.resets == [(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert not bench.connection._blocks.heads


def test_answers_to_control_frames_that_nobody_reads_are_bounded():
    bench = server(Limits(control_frames=10))
    ping = frame(PING, 0, 0, bytes(8))
    for _ in range(10):
        bench.connection.receive(ping, 0.0)
    assert bench.connection.fault is None
    bench.hear(ping)
    assert bench.reason == "CONTROL_FRAMES_UNREAD"


def test_answers_that_are_taken_are_not():
    bench = server(Limits(control_frames=10))
    for _ in range(100):
        bench.hear(frame(PING, 0, 0, bytes(8)))
    assert bench.reason is None


def test_unsent_data_is_bounded():
    bench = server(Limits(unsent_bytes=100_000))
    one, two = bench.hear(headers(1), headers(3))
    bench.connection.reply(one.stream, ANSWER, (b"x" * 90_000,), END)
    bench.collect()
    assert bench.reason is None
    assert bench.connection.unsent_bytes == 90_000 - 65_535
    bench.connection.reply(two.stream, ANSWER, (b"x" * 80_000,), END)
    bench.collect()
    assert bench.reason == "UNSENT_TOO_LARGE"
    assert two.stream.closed


def test_small_answers_that_nobody_takes_are_bounded_as_well():
    """A client may open the windows wide, ask for ever and never read."""
    bench = server(Limits(unsent_bytes=10_000))
    bench.hear(update(0, 1 << 30))
    for stream_id in range(1, 2001, 2):
        for event in bench.connection.receive(headers(stream_id), 0.0):
            bench.connection.reply(event.stream, ANSWER, (b"x" * 10,), END)
    assert bench.connection._out.pending < 11_000
    bench.collect()
    assert bench.reason == "UNSENT_TOO_LARGE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("header_block_bytes", 1000),
        ("header_table_bytes", -1),
        ("concurrent_streams", 0),
        ("frame_bytes", 1000),
        ("stream_window_bytes", 1 << 31),
        ("connection_window_bytes", 1000),
    ],
)
def test_limits_that_the_protocol_cannot_express_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        Limits(**{name: value})
