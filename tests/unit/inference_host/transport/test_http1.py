"""An HTTP/1.1 connection without a socket: order, patience, and when it ends."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from inference_host.transport import connections, http1
from inference_host.transport.connections import AWAITED_BYTES_MAX, Connections
from inference_host.transport.http1 import READ_AHEAD_BYTES, Connection, Limits, Service
from inference_host.transport.http1_core import Answer, Request, Response
from tests.unit.inference_host.transports import HIGH_WATER_BYTES, Transport, deliver

GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = 4 * HIGH_WATER_BYTES


class Application:
    """Gives the path back: at once below /now, else when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[str, Answer] = {}
        self.withdrawn: list[str] = []

    def begin(self, request: Request, answer: Answer) -> Callable[[], object] | None:
        path = request.target
        if path.startswith("/fails"):
            raise ValueError(path)
        if path.startswith("/now"):
            answer(Response(200, [path.encode()]))
            return None
        self.waiting[path] = answer
        return lambda: self.withdrawn.append(path)

    def answer(self, path: str, size: int = 0) -> None:
        self.waiting.pop(path)(Response(200, [bytes(size) or path.encode()]))


class Bench:
    """One connection, its application, and a clock that the test moves."""

    def __init__(self, *, full: bool = False, memory_bytes: int = 1 << 30) -> None:
        self.clock = 1000.0
        self.application = Application()
        limits = connections.Limits(memory_bytes=memory_bytes)
        self.connections = Connections(limits, lambda: self.clock)
        service = Service(self.application.begin, refuse, Limits(1 << 20), self.connections)
        self.connection = Connection(service, full=full)
        self.connections.enter(self.connection)
        self.transport = Transport(self.connection)

    def say(self, data: bytes) -> None:
        deliver(self.connection, data)

    def later(self, seconds: float) -> None:
        self.clock += seconds
        self.connections.tick()

    @property
    def bodies(self) -> list[bytes]:
        """Of all answers so far."""
        found, rest = [], bytes(self.transport.written)
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found.append(rest[:length])
            rest = rest[length:]
        return found

    @property
    def status(self) -> int:
        """Of the last answer."""
        return int(bytes(self.transport.written).rpartition(b"HTTP/1.1 ")[2][:3])


def refuse(status: int, message: str) -> Response:
    return Response(status, [message.encode()])


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scenario())


def test_pipelined_requests_are_answered_in_their_order_and_in_one_write() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"".join(GET % b"now%d" % number for number in range(10)))
        assert bench.bodies == [b"/now%d" % number for number in range(10)]
        assert bench.transport.writes == 1

    run(scenario)


def test_a_request_waits_for_the_answer_to_the_one_before() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"first" + GET % b"now")
        assert (list(bench.application.waiting), bench.bodies) == (["/first"], [])
        bench.application.answer("/first")
        assert bench.bodies == [b"/first", b"/now"]

    run(scenario)


def test_reading_stops_while_a_request_is_answered_and_goes_on_then() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"first")
        bench.say(GET % b"now" * (READ_AHEAD_BYTES // 20))
        assert not bench.transport.reading
        bench.application.answer("/first")
        assert bench.transport.reading
        assert bench.connection.read_ahead_bytes == 0

    run(scenario)


def test_a_client_that_does_not_read_is_not_answered_further() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.transport.taking = False
        bench.say(GET % b"large" + GET % b"now")
        bench.application.answer("/large", LARGE)
        assert bench.connections.held_bytes >= LARGE
        assert b"/now" not in bench.transport.written
        bench.transport.take()
        assert bench.bodies[1:] == [b"/now"]
        assert bench.connections.held_bytes == 0

    run(scenario)


def test_a_client_that_pipelines_and_does_not_read_fills_no_memory() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.transport.taking = False
        bench.say(GET % b"now" * 10_000)
        assert bench.transport.buffered < 3 * HIGH_WATER_BYTES
        bench.transport.take()

    run(scenario)


def test_a_client_must_take_its_answer_in_time() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.transport.taking = False
        bench.say(GET % b"large")
        bench.application.answer("/large", LARGE)
        bench.later(59)
        assert not bench.transport.closing
        bench.later(2)
        assert bench.transport.aborted

    run(scenario)


def test_a_client_must_take_its_last_answer_in_time_too() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.transport.taking = False
        bench.say(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        bench.application.answer("/large", LARGE)
        bench.later(59)
        assert not bench.transport.aborted
        bench.later(2)
        assert bench.transport.aborted

    run(scenario)


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"now")
        bench.later(74)
        assert not bench.transport.closing
        bench.later(2)
        assert bench.transport.closing
        assert bench.bodies == [b"/now"]

    run(scenario)


def test_a_request_must_be_whole_in_time_however_steadily_it_drips() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"G")
        for byte in b"ET /now HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 70:
            bench.later(1)
            if bench.transport.ended:
                break
            bench.say(bytes([byte]))
        assert bench.clock == 1061.0
        assert bench.status == 408

    run(scenario)


def test_a_call_that_takes_long_is_nobodys_fault() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"slow")
        bench.later(3600)
        bench.application.answer("/slow")
        assert bench.bodies == [b"/slow"]

    run(scenario)


def test_a_client_that_goes_away_withdraws_its_call_and_hears_no_more() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"gone" + GET % b"now")
        bench.transport.close()
        await asyncio.sleep(0)
        assert bench.application.withdrawn == ["/gone"]
        bench.application.answer("/gone")
        assert not bench.transport.written
        assert bench.connections.empty.is_set()

    run(scenario)


def test_what_was_answered_is_not_withdrawn() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"done")
        bench.application.answer("/done")
        bench.transport.close()
        await asyncio.sleep(0)
        assert not bench.application.withdrawn

    run(scenario)


def test_a_fault_of_the_application_is_a_500_and_the_connection_lives() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"fails")
        assert bench.status == 500
        bench.say(GET % b"now")
        assert bench.status == 200

    run(scenario)


def test_head_is_get_without_a_body() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"HEAD /now HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"content-length: 4\r\n" in bench.transport.written
        assert bench.transport.written.endswith(b"\r\n\r\n")

    run(scenario)


def test_the_go_ahead_is_given_once_and_the_body_awaited() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        bench.say(b"a")
        bench.say(b"bc")
        assert bench.transport.written.count(b"100 Continue") == 1
        assert bench.transport.written.endswith(b"/now")

    run(scenario)


def test_a_refused_client_reads_why_before_the_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "HANG_UP_S", 0.0)

    async def scenario() -> None:
        bench = Bench()
        bench.say(b"nonsense\r\n\r\n")
        assert (bench.status, bench.transport.ended, bench.transport.closing) == (400, True, False)
        bench.say(b"more of it")
        await asyncio.sleep(0.001)
        assert bench.transport.aborted

    run(scenario)


def test_one_connection_too_many_is_told_so() -> None:
    async def scenario() -> None:
        bench = Bench(full=True)
        bench.say(GET % b"now")
        assert (bench.status, bench.transport.ended) == (503, True)

    run(scenario)


def test_bodies_on_their_way_count_and_are_refused_where_there_is_no_memory() -> None:
    head = b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"

    async def scenario() -> None:
        bench = Bench(memory_bytes=300_000)
        bench.say(head + bytes(200_000))
        assert bench.connections.held_bytes == 200_000
        bench.say(bytes(200_000))
        assert (bench.status, bench.connections.held_bytes) == (503, 0)

    run(scenario)


def test_a_body_that_was_answered_is_counted_no_more() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(199_999))
        assert bench.connections.held_bytes == 199_999
        bench.say(b"x")
        assert (bench.bodies, bench.connections.held_bytes) == ([b"/now"], 0)

    run(scenario)


def test_a_busy_connection_drains_with_its_answer() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(GET % b"last" + GET % b"now")
        bench.connections.drain()
        bench.application.answer("/last")
        assert bench.bodies == [b"/last"]
        assert b"connection: close\r\n" in bench.transport.written
        assert bench.transport.closing

    run(scenario)


def test_an_idle_connection_that_drains_still_answers_what_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_S", 0.0)

    async def scenario() -> None:
        bench = Bench()
        bench.connections.drain()
        bench.say(b"GET /now HT")
        await asyncio.sleep(0.01)
        assert not bench.transport.closing
        bench.say(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert bench.bodies == [b"/now"]
        assert bench.transport.closing

    run(scenario)


def test_an_idle_connection_ends_soon_after_the_drain_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_S", 0.0)

    async def scenario() -> None:
        bench = Bench()
        bench.connections.drain()
        await bench.connections.empty.wait()
        assert not bench.transport.written

    run(scenario)


def test_a_client_that_takes_its_answer_only_after_the_drain_began_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "LINGER_S", 0.0)

    async def scenario() -> None:
        bench = Bench()
        bench.transport.taking = False
        bench.say(GET % b"large")
        bench.application.answer("/large", LARGE)
        bench.connections.drain()
        bench.transport.take()
        await bench.connections.empty.wait()

    run(scenario)


def test_of_a_large_body_much_is_awaited_at_once() -> None:
    async def scenario() -> None:
        bench = Bench()
        size = 2 * AWAITED_BYTES_MAX
        bench.say(b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        assert bench.transport.taker.low_water == AWAITED_BYTES_MAX
        bench.say(bytes(size - 50_000))
        assert bench.transport.taker.low_water == 50_000
        bench.say(bytes(50_000 - 1))
        assert bench.transport.taker.low_water == 1
        bench.say(b".")
        assert list(bench.application.waiting) == ["/later"]

    run(scenario)


def test_a_slow_client_is_heard_once_a_second() -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.say(b"POST /later HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        bench.later(1.0)
        assert bench.transport.taker.low_water == 1
        bench.say(b"....")
        assert bench.transport.taker.low_water == 100_000 - 4

    run(scenario)
