"""What time alone does to a connection."""

from math import inf

import pytest
from hyperframe.frame import GoAwayFrame, PingFrame

from tests.unit.sdk.wire.peers import GREETING, POST, PREFACE, Bench, data, headers, server, told
from waypost.wire import ClientConnection, Limits, ServerConnection
from waypost.wire.frames import ACK, HEADERS, PING, SETTINGS, frame

CALM = Limits(keepalive_s=0, idle_s=0)


@pytest.mark.parametrize("said", [b"", PREFACE, PREFACE + told()])
def test_a_peer_must_say_hello_and_acknowledge_ours_in_time(said):
    bench = Bench(ServerConnection(CALM, now=100.0), now=100.0)
    bench.hear(said)
    assert bench.connection.tick(105.0) == 110.0
    bench.connection.tick(110.0)
    bench.collect()
    assert bench.reason == "HANDSHAKE_TIMEOUT"


@pytest.mark.parametrize("said", [GREETING, frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)])
def test_a_peer_that_did_has_time(said):
    bench = Bench(ServerConnection(CALM, now=0.0))
    bench.hear(PREFACE, said)
    assert bench.connection.tick(1e6) == inf


def test_an_acknowledgement_may_come_before_the_peers_own_settings():
    """They are independent of each other, but section 3.4 wants the settings first; so this is an error."""
    bench = Bench(ClientConnection(CALM, now=0.0))
    bench.connection.take()
    bench.hear(frame(SETTINGS, ACK, 0))
    assert bench.reason == "FRAME_UNEXPECTED"


@pytest.mark.parametrize(
    "begun",
    [frame(PING, 0, 0, bytes(8))[:12], headers(1)[:5], frame(HEADERS, 0, 1, b"")],
    ids=["a cut frame", "a cut header", "a header block"],
)
def test_what_has_begun_must_be_whole_in_time(begun):
    bench = server(CALM)
    bench.now = 20.0
    bench.hear(begun)
    bench.hear(b"", after=3.0)
    assert bench.connection.tick(21.0) == 30.0
    bench.connection.tick(30.0)
    bench.collect()
    assert bench.reason == "FRAME_TIMEOUT"


def test_frames_that_are_cut_by_every_read_do_not_add_up():
    bench = server(CALM)
    ping = frame(PING, 0, 0, bytes(8))
    for _ in range(30):
        bench.hear(ping[:5])
        bench.hear(ping[5:] + ping[:5], after=1.0)
        bench.hear(ping[5:])
        bench.connection.tick(bench.now)
    assert bench.reason is None
    assert bench.connection.tick(1e6) == inf


def test_a_body_may_take_its_time():
    bench = server(CALM)
    bench.hear(headers(1, POST, end=False), data(1, b"x" * 100)[:50])
    assert bench.connection.tick(1e6) == inf


def test_a_silent_peer_is_pinged_and_then_given_up():
    bench = server(Limits(keepalive_s=60, keepalive_timeout_s=20, idle_s=0))
    assert bench.connection.tick(0.0) == 60.0
    assert bench.connection.tick(60.0) == 80.0
    bench.collect()
    assert len(bench.said(PingFrame)) == 1
    assert bench.connection.tick(79.0) == 80.0
    assert bench.connection.tick(80.0) == inf
    bench.collect()
    assert bench.reason == "KEEPALIVE_TIMEOUT"
    assert bench.connection.tick(81.0) == inf


def test_any_sign_of_life_will_do():
    bench = server(Limits(keepalive_s=60, keepalive_timeout_s=20, idle_s=0))
    bench.connection.tick(60.0)
    (ping,) = bench.collect()
    bench.now = 70.0
    assert bench.hear(frame(PING, ACK, 0, ping.opaque_data)) == []
    assert bench.connection.tick(80.0) == 130.0


def test_a_connection_that_nobody_uses_says_goodbye():
    bench = server(Limits(keepalive_s=0, idle_s=100))
    assert bench.connection.tick(50.0) == 100.0
    assert bench.connection.tick(100.0) == 101.0
    assert len([frame for frame in bench.collect() if isinstance(frame, GoAwayFrame)]) == 1
    bench.connection.tick(101.0)
    assert bench.connection.closed
    assert bench.reason is None


def test_a_call_makes_it_used():
    bench = server(Limits(keepalive_s=0, idle_s=100))
    bench.now = 90.0
    (event,) = bench.hear(headers(1))
    assert bench.connection.tick(95.0) == inf
    assert bench.connection.tick(300.0) == inf
    bench.connection.reset(event.stream)
    assert bench.connection.tick(310.0) == 400.0
    bench.now = 399.0
    (event,) = bench.hear(headers(3))
    bench.connection.reset(event.stream)
    assert bench.connection.tick(400.0) == 500.0


def test_a_client_says_goodbye_at_once():
    bench = Bench(ClientConnection(Limits(keepalive_s=0, idle_s=100), now=0.0))
    bench.connection.take()
    bench.hear(GREETING)
    bench.connection.tick(100.0)
    assert bench.connection.closed
