"""A network for links that delays, stalls, cuts and partitions, with a seed.

One connection behaves as TCP does: in order, until it breaks, and then the messages under way are lost in either
direction. Neither side need notice before its lease runs out (a half-open connection): what it sends goes nowhere, and
when the window is full it can send no more. What was sent before a connection was closed, or before its sender died,
arrives all the same, perhaps long after the next connection has begun.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mesh.link import WireLost
from tests.sim.processes import current, world_context, writing
from waypost.errors import MeshError


@dataclass
class Weather:
    """How bad the network is; may change while it is used."""

    delay_s: float = 0.05
    """Longest delay of one message."""
    cut: float = 0.0
    """Chance that a message breaks its connection."""
    silent: float = 0.5
    """Share of the breaks that one side does not notice."""
    up_blocked: bool = False
    """Nothing gets through from child to parent, and nobody is told."""
    down_blocked: bool = False

    def block(self, *, up: bool, down: bool) -> None:
        self.up_blocked, self.down_blocked = up, down


RESEND_S, RESEND_MAX_S = 0.5, 30.0  # twice as long each time, as TCP does: long after a partition has ended
WINDOW = 64  # messages that a receiver has not taken: beyond them the sender waits, as HTTP/2's flow control has it
SYN_S = 120.0  # a connection that nobody answers; whoever dials runs out of patience long before
_BROKEN = object()


class _Pipe:
    """One direction of one connection."""

    def __init__(self, network: "Network", blocked: Callable[[], bool]) -> None:
        self._network = network
        self._blocked = blocked
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._sent = 0
        self._taken = asyncio.Event()
        self._busy_until_s = 0.0
        self._resend_s = RESEND_S
        self._under_way: list[Any] = []
        self.broken = False
        """Its sender knows that it leads nowhere."""
        self.silent = False
        """It leads nowhere, and its sender does not know."""

    async def put(self, message: Any) -> None:
        while self._sent >= WINDOW and not self.broken:
            self._taken.clear()
            await self._taken.wait()
        if self.broken:
            raise WireLost("connection reset")
        self._sent += 1
        self._send(type(message).FromString(message.SerializeToString()))  # what crosses a wire is bytes

    def _send(self, message: Any) -> None:
        loop, delay_s = asyncio.get_running_loop(), self._network.weather.delay_s
        self._busy_until_s = max(self._busy_until_s, loop.time()) + self._network.rng.uniform(0, delay_s)
        loop.call_at(self._busy_until_s, self._deliver, message, context=self._network.context)

    def _deliver(self, message: Any) -> None:
        self._under_way.append(message)
        if len(self._under_way) == 1:
            self._flush()

    def _flush(self) -> None:
        """What a partition holds back is sent again and again, as TCP does, until it arrives or the connection ends."""
        if self.silent:
            return
        if self._blocked():
            asyncio.get_running_loop().call_later(self._resend_s, self._flush, context=self._network.context)
            self._resend_s = min(2 * self._resend_s, RESEND_MAX_S)
            return
        self._resend_s = RESEND_S
        while self._under_way:
            self._arrived.put_nowait(self._under_way.pop(0))

    async def get(self) -> Any:
        message = await self._arrived.get()
        if message is _BROKEN:
            raise WireLost("connection reset")
        if isinstance(message, MeshError):
            raise message
        self._sent -= 1
        self._taken.set()
        return message

    def finish(self, why: MeshError | None = None) -> None:
        """Its sender is done with it, or is no more: what is under way arrives, however late, and then the end."""
        if not self.broken:
            self.broken = True
            self._taken.set()
            self._send(why or _BROKEN)

    def break_(self, *, noticed: bool, by_sender: bool = True) -> None:
        """What is under way is lost. noticed: by its receiver."""
        self.broken = self.broken or by_sender
        self.silent = True
        self._taken.set()
        if noticed:
            self._arrived.put_nowait(_BROKEN)


@dataclass
class SimWire:
    """One end of a connection."""

    network: "Network"
    outward: _Pipe
    inward: _Pipe
    heard: Callable[[Any], None] = lambda message: None
    """Called with each message that is sent from here, before it leaves."""
    took: Callable[[], None] = lambda: None
    """Called when a message has arrived here."""

    async def send(self, message: Any) -> None:
        writing()
        self.heard(message)
        if self.network.rng.random() < self.network.weather.cut:
            self.cut()
        await self.outward.put(message)

    async def receive(self) -> Any:
        message = await self.inward.get()
        self.took()
        return message

    async def close(self) -> None:
        self.end()

    def end(self, why: MeshError | None = None) -> None:
        """Its owner lets go of it, or is no more; the other side hears of it when anything gets through."""
        self.outward.finish(why)
        self.inward.break_(noticed=True)

    def cut(self) -> None:
        silent = self.network.rng.random() < self.network.weather.silent
        unaware = silent and self.network.rng.random() < 0.5
        self.outward.break_(noticed=not silent, by_sender=not unaware)
        self.inward.break_(noticed=not unaware, by_sender=not silent)


@dataclass
class Network:
    """Between one child and one parent."""

    rng: random.Random
    weather: Weather = field(default_factory=Weather)

    def __post_init__(self) -> None:
        self.context = world_context()

    async def connect(self, accept: Callable[[SimWire], None]) -> SimWire:
        """Opens a connection and hands its other end to `accept`. Raises: WireLost in a partition."""
        await asyncio.sleep(self.rng.uniform(0, self.weather.delay_s))
        if self.weather.up_blocked or self.weather.down_blocked:
            if self.rng.random() < 0.5:
                await asyncio.sleep(SYN_S)
            raise WireLost("no route to host")
        up = _Pipe(self, lambda: self.weather.up_blocked)
        down = _Pipe(self, lambda: self.weather.down_blocked)
        accept(SimWire(self, down, up))
        wire = SimWire(self, up, down)
        if (process := current()) is not None:
            process.on_end.append(wire.end)
        return wire
