"""One of several processes that serve at one address, seen from inside; supervisor.py is the other side.

    loaded ──▶ supervisor ──▶ go: listen now (at the first start when all are loaded, later at once)
    counts ──▶ supervisor ──▶ the speaker, who has the link: the monitor sees one replica
    orders ◀── supervisor ◀── the speaker, whom the monitor told

Messages are one byte for the kind and a body, over a socket pair that keeps their bounds; nothing of it is on the way
of a call. When the supervisor is gone, its end of the pair is closed: then this process ends at once, so that whoever
starts the host again finds its address free.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from inference_host.faces.monitoring import follow, take_counts
from inference_host.serving.dataplane import DataPlane
from inference_host.transport.auth import Gate
from mesh import measures
from mesh.metrics import Histogram
from waypost.api.link.v1.host_link_pb2 import HostMetrics, HostOrders

MESSAGE_BYTES_MAX = 64 << 10  # a key set of sixteen keys has 3 KB, counts have 5
PUSH_S = 1.0  # between counts for the speaker: well below the 10 s that monitors are told in
ORPHANED = 1


class Kind(IntEnum):
    """First byte of a message."""

    LOADED = 1
    """Up: every model that can serve could."""
    GO = 2
    """Down: listen."""
    READY = 3
    """Up: it listens."""
    SPEAK = 4
    """Down: have the link."""
    COUNTS = 5
    """Up: HostMetrics. Down, to the speaker: the same behind a byte that says whose."""
    ORDERS = 6
    """Up from the speaker, down to the others: HostOrders."""
    ALONE = 7
    """Down, to the speaker of a host that ends: the others have gone."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One address. taker: a Unix socket, which all processes take connections from. At a port each has its own."""

    address: str
    taker: socket.socket | None


class Worker:
    """Made after the fork; `run` it inside the event loop."""

    def __init__(self, index: int, processes: int, control: socket.socket, listeners: tuple[Listener, ...]) -> None:
        """index: 0, 1, ... Stays the same when a process is started anew."""
        self.index = index
        self.processes = processes
        self.listeners = listeners
        self.host_pid = os.getppid()
        self.speaks = asyncio.Event()
        """Set while this process has the link."""
        self._may_listen = asyncio.Event()
        self._is_alone = asyncio.Event()
        self._ordered: Callable[[bytes], None] = _nobody
        self._control = control
        self._others: dict[int, HostMetrics] = {}

    async def run(self, plane: DataPlane, gate: Gate) -> None:
        """What it has to say and to hear while it serves. Cancel it to end."""
        self._ordered = lambda orders: follow(HostOrders.FromString(orders), plane, gate)
        asyncio.get_running_loop().add_reader(self._control, self._hear)
        while True:
            await asyncio.sleep(PUSH_S)
            if not self.speaks.is_set():
                self._count(plane)

    async def say_last_words(self, plane: DataPlane, grace_s: float) -> None:
        """The speaker's are said for all, so it waits for theirs."""
        if not self.speaks.is_set():
            self._count(plane)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._is_alone.wait()

    async def wait_to_listen(self) -> None:
        """Tells that everything is loaded; returns when all are so far, at the speaker when all others listen."""
        self._tell(Kind.LOADED)
        await self._may_listen.wait()

    def is_ready(self) -> None:
        self._tell(Kind.READY)

    def add_others(self, counts: HostMetrics) -> None:
        """Adds what the other processes counted since the last time."""
        for other in self._others.values():
            add(counts, other)
        self._others.clear()

    def pass_on(self, orders: bytes) -> None:
        """For the other processes."""
        self._tell(Kind.ORDERS, orders)

    def _count(self, plane: DataPlane) -> None:
        """For the speaker."""
        self._tell(Kind.COUNTS, take_counts(plane).SerializeToString())

    def _tell(self, kind: Kind, body: bytes = b"") -> None:
        """Lost where the supervisor is busy beyond a full buffer: counts of a second then, which is said nowhere."""
        try:
            self._control.send(bytes([kind]) + body)
        except BlockingIOError:
            assert kind is Kind.COUNTS, "the supervisor does not read"
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is gone, and `_hear` is about to see it

    def _hear(self) -> None:
        message = self._control.recv(MESSAGE_BYTES_MAX)
        if not message:
            os._exit(ORPHANED)
        match message[0]:
            case Kind.GO:
                self._may_listen.set()
            case Kind.SPEAK:
                self.speaks.set()
            case Kind.ALONE:
                self._is_alone.set()
            case Kind.ORDERS:
                self._ordered(message[1:])
            case Kind.COUNTS:
                self._add(message[1], HostMetrics.FromString(message[2:]))

    def _add(self, index: int, counts: HostMetrics) -> None:
        before = self._others.get(index)
        if before is not None:
            before.queue_depth = before.processes = 0  # the newest are those that are
            add(counts, before)
        self._others[index] = counts


def add(counts: HostMetrics, others: HostMetrics) -> None:
    """Adds `others` into `counts`: every number but the window, which is the same for all, the histogram, and what can
    be added of the template's own metrics: a gauge is what the process says that speaks for the host."""
    latency = Histogram.from_proto(counts.latency)
    latency.merge(Histogram.from_proto(others.latency))
    for field in HostMetrics.DESCRIPTOR.fields:
        if field.cpp_type == field.CPPTYPE_INT64 and field.name != "window_ms":
            setattr(counts, field.name, getattr(counts, field.name) + getattr(others, field.name))
    counts.latency.CopyFrom(latency.to_proto())
    mine = measures.from_protos(counts.model_metrics)
    together = {**mine, **measures.beside(mine, measures.from_protos(others.model_metrics))}
    del counts.model_metrics[:]
    counts.model_metrics.extend(measures.to_protos(together))


def _nobody(orders: bytes) -> None: ...
