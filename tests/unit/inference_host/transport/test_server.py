"""What becomes of a connection until it has said what it speaks."""

import asyncio
import resource
from collections.abc import Callable, Coroutine

import pytest

from inference_host.transport import connections, server
from inference_host.transport.connections import Connections
from inference_host.transport.server import Server, places
from tests.unit.inference_host.transports import Transport
from waypost.wire import PREFACE


class Spoken(asyncio.Protocol):
    """A protocol that notes what it was given."""

    idle_since = None

    def __init__(self, name: str, *, full: bool) -> None:
        self.name, self.full, self.heard = name, full, b""

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def tick(self, now: float) -> None: ...

    def drain(self) -> None: ...

    def abort(self) -> None: ...


class Bench:
    """A server whose protocols do nothing, and its clock."""

    def __init__(self, tasks: asyncio.TaskGroup, limits: connections.Limits) -> None:
        self.clock = 100.0
        self.spoken: list[Spoken] = []
        self.connections = Connections(limits, lambda: self.clock)
        self.server = Server(self.connections, http2=self._speak("h2"), http1=self._speak("http/1.1"), tasks=tasks)

    def greeter(self) -> tuple[server._Greeter, Transport]:
        made = server._Greeter(self.server, None)
        return made, Transport(made)

    def _speak(self, name: str) -> Callable[[bool], Spoken]:
        def speak(full: bool) -> Spoken:
            self.spoken.append(Spoken(name, full=full))
            return self.spoken[-1]

        return speak


def run(scenario: Callable[[Bench], Coroutine[None, None, None]], **limits: float) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            bench = Bench(tasks, connections.Limits(**limits))  # type: ignore[arg-type]
            await scenario(bench)
            bench.server._ticking.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("step", [1, 3, 100])
@pytest.mark.parametrize(
    ("said", "name"),
    [
        (PREFACE + b"more", "h2"),
        (b"GET / HTTP/1.1\r\n\r\n", "http/1.1"),
        (b"PROPFIND / HTTP/1.1\r\n\r\n", "http/1.1"),
        (b"\x16\x03\x01", "http/1.1"),
    ],
)
def test_the_first_bytes_choose_the_protocol_and_none_is_lost(said: bytes, name: str, step: int) -> None:
    async def scenario(bench: Bench) -> None:
        _, transport = bench.greeter()
        for start in range(0, len(said), step):
            transport.protocol.data_received(said[start : start + step])
        (spoken,) = bench.spoken
        assert (spoken.name, spoken.heard, spoken.full) == (name, said, False)
        assert list(bench.connections) == [spoken]

    run(scenario)


def test_who_says_nothing_is_closed_in_time() -> None:
    async def scenario(bench: Bench) -> None:
        greeter, transport = bench.greeter()
        greeter.data_received(b"PR")
        bench.clock += 9
        bench.connections.tick()
        assert not transport.aborted
        bench.clock += 2
        bench.connections.tick()
        assert transport.aborted

    run(scenario, greeting_s=10.0)


def test_a_connection_too_many_is_told_so_in_its_own_protocol() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(2):
            greeter, _ = bench.greeter()
            greeter.data_received(PREFACE)
        assert [spoken.full for spoken in bench.spoken] == [False, True]

    run(scenario, connections=1)


def test_there_are_no_more_places_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1000))
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    assert places(100) == 100
    assert places(5000) == 1000 - server.REFUSED_MAX - server.FILES_KEPT
    assert asked == [(100 + server.REFUSED_MAX + server.FILES_KEPT, 1000), (1000, 1000)]
