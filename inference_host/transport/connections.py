"""All connections of a host, of both protocols: how many there are, what they hold, when they have waited too long.

A connection enters itself when it is made, leaves when it is lost, and says in between how many bytes of others'
requests and answers it holds. Once a second each is asked whether it has waited too long for its peer: one timer for
all, where one for each request would cost more than a small model.

When all places are taken, the connection that has been idle longest is asked to go for a new one, so that peers who
only hold places keep nobody out; where none is idle, the new one is refused in its own protocol.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

TICK_S = 1.0  # every time limit below is kept to a second
MAKES_ROOM_S = 2.0  # idle for so long, a connection may be closed for another: longer than between two calls of a burst
READ_BYTES_MAX = 120 << 10
"""At once. asyncio's 256 KiB, a new buffer for each read, come from the kernel page by page and go back again, which
takes longer than a small model; below 128 KiB malloc keeps them."""
DIRECT_BYTES_MIN = 32 << 10
"""Of a large message that is on its way: so much or more is read into its place at once, and never copied. For less, a
read of its own would cost more."""
AWAITED_BYTES_MAX = 256 << 10
"""Of a large message that is on its way, as much as a connection may sleep for."""
REFUSED_MAX = 64  # connections beyond `connections` that are still told why; further ones are just closed


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a host as a whole."""

    connections: int = 1024
    """At once; a gateway holds a few dozen."""

    memory_bytes: int = 1 << 30
    """Of requests and answers that are on their way. Sixteen of the largest messages; beyond it calls are refused."""

    greeting_s: float = 10.0
    """Until a new connection has said which protocol it speaks, TLS handshake included."""


class Connection(Protocol):
    """What the host wants of each."""

    @property
    def idle_since(self) -> float | None:
        """On the event loop's clock; None while something is under way."""

    def tick(self, now: float) -> None:
        """Called once a second: gives up on what has taken too long."""

    def drain(self) -> None:
        """Ends after what is under way."""

    def abort(self) -> None:
        """Ends now."""


class LowWater:
    """How much must have come in before its connection is woken: SO_RCVLOWAT (socket(7)).

    A large message comes in a dozen pieces, and waking up for each takes longer than reading it. Where its size is
    known the kernel may as well gather some. The end of a connection is told at once in any case, and a kernel that is
    short of memory tells what there is. Plain TCP only: Unix sockets do not know it, TLS hides what is to come.
    """

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self.raised = False
        """Whether more than a byte is awaited."""
        taker = transport.get_extra_info("socket")
        is_tcp = taker is not None and taker.family in (socket.AF_INET, socket.AF_INET6)
        self._taker = taker if is_tcp and transport.get_extra_info("ssl_object") is None else None
        self._awaited = 1

    def expect(self, size: int) -> None:
        """The peer has said that `size` bytes come next: they, or as many as may be awaited."""
        awaited = min(size, AWAITED_BYTES_MAX) if size >= DIRECT_BYTES_MIN else 1
        if awaited != self._awaited and self._taker is not None:
            self._taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, awaited)
            self._awaited = awaited
            self.raised = awaited > 1

    def lower(self) -> None:
        """Tells what there is. For a peer that is slow: it should be heard now and then."""
        if self.raised:
            self.expect(1)


class Connections:
    """now: the event loop's clock."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.limits = limits
        self.clock = now
        self.now = now()
        """When the last tick was: exact enough to measure patience with, and free."""
        self.draining = False
        self.empty = asyncio.Event()
        self.empty.set()
        self.held_bytes = 0
        self.buffer = memoryview(bytearray(READ_BYTES_MAX))
        """What every connection reads into: one after the other, each taking its bytes out at once."""
        self._all: dict[Connection, None] = {}  # in their order, for a fair choice
        self._leaving: set[Connection] = set()
        """Those that were asked to make room."""

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._all)

    def enter(self, connection: Connection) -> bool:
        """Takes a place. False: there was none, and the connection should say so and end."""
        room = len(self._all) < self.limits.connections or self._make_room()
        self._all[connection] = None
        self.empty.clear()
        if len(self._all) > self.limits.connections + REFUSED_MAX:
            connection.abort()
        return room

    def replace(self, old: Connection, new: Connection) -> None:
        """`new` speaks from now on."""
        self._all.pop(old, None)
        self._all[new] = None

    def leave(self, connection: Connection) -> None:
        self._all.pop(connection, None)
        self._leaving.discard(connection)
        if not self._all:
            self.empty.set()

    def count(self, growth: int) -> bool:
        """Counts `growth` bytes more that are held, or fewer. Returns whether there is memory for all of them."""
        self.held_bytes += growth
        return self.held_bytes <= self.limits.memory_bytes

    def tick(self) -> None:
        self.now = self.clock()
        for connection in list(self._all):
            connection.tick(self.now)

    def drain(self) -> None:
        self.draining = True
        for connection in list(self._all):
            connection.drain()

    def abort(self) -> None:
        for connection in list(self._all):
            connection.abort()

    def _make_room(self) -> bool:
        """Ends the connection that has been idle longest, if it has been for a while: in good order, for a call may be
        on its way. It keeps its place until it has gone."""
        others = (connection for connection in self._all if connection not in self._leaving)
        idle = [(since, connection) for connection in others if (since := connection.idle_since) is not None]
        since, longest = min(idle, key=lambda each: each[0], default=(self.clock(), None))
        if longest is None or self.clock() - since < MAKES_ROOM_S:
            return False
        self._leaving.add(longest)
        longest.drain()
        return True
