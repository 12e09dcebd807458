"""Calls, and how long each took: the load of `waypost host bench`.

    closed loop   so many callers, each of which calls again when it is answered: what a host can do
    open loop     calls come at a rate, at random times, as from many xApps, whether earlier ones are answered or not

In an open loop a call's time counts from when it should have been sent. A host that stalls is so charged for the calls
that came meanwhile; a closed loop would wait politely and never ask them ("coordinated omission").

What is counted lies in a window after a warm-up. Everything happens in the event loop, on one connection for every
hundred callers; a call costs a closure and one entry of a dict.
"""

import asyncio
import gc
import random
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from time import monotonic, process_time

from inference_host.workbench.client import Client, Method, Parts
from inference_host.workbench.figures import Measured
from inference_host.workbench.pacer import Pacer
from waypost.errors import MeshError, Unavailable
from waypost.wire.metadata import format_timeout

PATIENCE_S = 10.0  # for the last answers where calls have no deadline
NEVER = float("inf")
LOST = Unavailable("CONNECTION_LOST", "there is no connection left", "see the host's log")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is asked for how long."""

    in_flight: int
    """Closed loop: callers."""
    rate: float
    """Open loop: calls a second; 0: closed."""
    warm_up_s: float
    seconds: float
    deadline_s: float
    """Of each call; 0: none."""


class Load:
    """One measurement on some connections."""

    def __init__(
        self,
        clients: Sequence[Client],
        method: Method,
        requests: Sequence[Parts],
        shape: Shape,
        cpu_s: Callable[[], float | None],
    ) -> None:
        """requests: sent in turn. cpu_s: what the host has used so far."""
        self._clients = clients
        self._turns = cycle(clients)
        self._method = method
        self._requests = cycle(requests)
        self._shape = shape
        self._cpu_s = cpu_s
        self._extra = ((b"grpc-timeout", format_timeout(shape.deadline_s)),) if shape.deadline_s else ()
        self._deadline_s = shape.deadline_s or NEVER
        self._latencies = array("d")
        self._late = array("d")
        self._errors: Counter[str] = Counter()
        self._due = self._in_time = self._open = 0
        self._waiting: deque[float] = deque()
        self._rng = random.Random(1)  # the same calls in every run
        self._from = self._until = self._next = 0.0
        self._over = asyncio.Event()

    async def run(self, at_start: Callable[[], object], at_end: Callable[[], object]) -> Measured:
        """at_start, at_end: called when the window opens and when it closes."""
        loop = asyncio.get_running_loop()
        self._from = monotonic() + self._shape.warm_up_s
        self._until = self._from + self._shape.seconds
        cpu: list[tuple[float, float | None]] = []

        def mark(then: Callable[[], object]) -> None:
            cpu.append((process_time(), self._cpu_s()))
            then()

        loop.call_at(self._from, mark, at_start)
        loop.call_at(self._until, mark, at_end)
        gc.disable()  # a pause of the driver's would be measured as the host's
        try:
            await (self._open_loop() if self._shape.rate else self._closed_loop())
        finally:
            gc.enable()
        return self._measured(*cpu)

    async def _closed_loop(self) -> None:
        for _ in range(self._shape.in_flight):
            self._begin(monotonic())
        await self._answered()

    async def _open_loop(self) -> None:
        with Pacer(self._arrivals) as self._pacer:
            self._next = monotonic()
            self._arrivals()
            await self._answered()

    async def _answered(self) -> None:
        """Returns when the window has closed and the last call is answered, or nobody would wait for it any more."""
        await asyncio.sleep(max(0.0, self._until - monotonic()))
        try:
            async with asyncio.timeout(min(PATIENCE_S, self._deadline_s + 1.0)):
                while self._open or self._waiting:
                    self._over.clear()
                    await self._over.wait()
        except TimeoutError:
            self._errors["NO_ANSWER"] += self._open

    # -- calls

    def _arrivals(self) -> None:
        """Everything that is due by now."""
        now = monotonic()
        while self._next <= now:
            if self._next >= self._until:
                return
            if self._next >= self._from:
                self._late.append(now - self._next)
            self._begin(self._next)
            self._next += self._rng.expovariate(self._shape.rate)
        self._pacer.at(self._next)

    def _begin(self, due: float) -> None:
        """due: when it should be sent, from which its time counts."""
        for _ in self._clients:
            client = next(self._turns)
            if client.capacity:
                self._send(client, due)
                return
        if not all(client.closed for client in self._clients):
            self._waiting.append(due)
        elif self._from <= due < self._until:
            self._count_one(0.0, LOST)

    def _send(self, client: Client, due: float) -> None:
        self._open += 1
        client.begin(self._method, next(self._requests), partial(self._told, client, due), self._extra)

    def _told(self, client: Client, due: float, answer: bytes | MeshError) -> None:
        now = monotonic()
        self._open -= 1
        if self._from <= due < self._until:
            self._count_one(now - due, answer)
        if self._waiting:
            if client.capacity:
                self._send(client, self._waiting.popleft())
        elif now >= self._until:
            self._over.set()
        elif not self._shape.rate:
            self._begin(now)

    def _count_one(self, took_s: float, answer: bytes | MeshError) -> None:
        self._due += 1
        if isinstance(answer, MeshError):
            code, reason = answer.code.name, answer.reason
            self._errors[code if code == reason else f"{code} {reason}"] += 1
            return
        self._latencies.append(took_s)
        if took_s <= self._deadline_s:
            self._in_time += 1

    def _measured(self, start: tuple[float, float | None], end: tuple[float, float | None]) -> Measured:
        return Measured(
            seconds=self._shape.seconds,
            due=self._due,
            latencies_s=self._latencies,
            in_time=self._in_time,
            errors=self._errors,
            late_s=self._late,
            driver_cpu_s=end[0] - start[0],
            host_cpu_s=None if start[1] is None or end[1] is None else end[1] - start[1],
        )
