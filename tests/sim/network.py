"""A network for links that delays, stalls, cuts and partitions, with a seed.

One connection behaves as TCP does: in order, until it breaks, and then the messages under way are lost in either
direction and neither side need notice before its lease runs out (a half-open connection).
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mesh.link import WireLost


@dataclass
class Weather:
    """How bad the network is; may change while it is used."""

    delay_s: float = 0.05
    """Longest delay of one message."""
    cut: float = 0.0
    """Chance that a message breaks its connection."""
    silent: float = 0.5
    """Share of the breaks that one side does not notice."""
    partitioned: bool = False
    """Nothing gets through, and nobody is told."""


RESEND_S = 0.5


class _Pipe:
    """One direction of one connection."""

    def __init__(self, network: "Network") -> None:
        self.network = network
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()
        self.broken = False
        self._busy_until_s = 0.0
        self._under_way: list[Any] = []

    async def put(self, message: Any) -> None:
        if self.broken:
            raise WireLost("connection reset")
        weather, rng = self.network.weather, self.network.rng
        loop = asyncio.get_running_loop()
        self._busy_until_s = max(self._busy_until_s, loop.time()) + rng.uniform(0, weather.delay_s)
        copy = type(message).FromString(message.SerializeToString())  # what crosses a wire is bytes
        loop.call_at(self._busy_until_s, self._deliver, copy)

    def _deliver(self, message: Any) -> None:
        self._under_way.append(message)
        self._flush()

    def _flush(self) -> None:
        """What a partition holds back is sent again and again, as TCP does, until it arrives or the connection ends."""
        if self.broken:
            return
        if self.network.weather.partitioned:
            asyncio.get_running_loop().call_later(RESEND_S, self._flush)
            return
        while self._under_way:
            self.arrived.put_nowait(self._under_way.pop(0))

    async def get(self) -> Any:
        message = await self.arrived.get()
        if message is _BROKEN:
            raise WireLost("connection reset")
        return message

    def break_(self, *, noticed: bool) -> None:
        self.broken = True
        if noticed:
            self.arrived.put_nowait(_BROKEN)


_BROKEN = object()


@dataclass
class SimWire:
    """One end of a connection."""

    network: "Network"
    outward: _Pipe
    inward: _Pipe

    async def send(self, message: Any) -> None:
        if self.network.rng.random() < self.network.weather.cut:
            self.cut()
        await self.outward.put(message)

    async def receive(self) -> Any:
        return await self.inward.get()

    async def close(self) -> None:
        self.outward.break_(noticed=not self.network.weather.partitioned)
        self.inward.break_(noticed=True)

    def cut(self) -> None:
        silent = self.network.rng.random() < self.network.weather.silent
        self.outward.break_(noticed=not silent)
        self.inward.break_(noticed=True)


@dataclass
class Network:
    rng: random.Random
    weather: Weather = field(default_factory=Weather)

    async def connect(self, accept: Callable[[SimWire], None]) -> SimWire:
        """Opens a connection and hands its other end to `accept`. Raises: WireLost in a partition."""
        await asyncio.sleep(self.rng.uniform(0, self.weather.delay_s))
        if self.weather.partitioned:
            raise WireLost("no route to host")
        up, down = _Pipe(self), _Pipe(self)
        accept(SimWire(self, down, up))
        return SimWire(self, up, down)
