"""A transport without a socket: what a protocol writes is kept, and the test decides when it is taken."""

import asyncio
import socket
from typing import Any

HIGH_WATER_BYTES = 64 << 10


class Taker:
    """A TCP socket, as far as it is asked for anything."""

    family = socket.AF_INET
    low_water = 1

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        self.low_water = value


class Transport(asyncio.Transport):
    """Hand it to `connection_made`; it tells the protocol what asyncio's own would tell."""

    def __init__(self, protocol: Any, extra: dict[str, object] | None = None) -> None:
        self.taker = Taker()
        super().__init__({"socket": self.taker, **(extra or {})})
        self.protocol = protocol
        self.written = bytearray()
        """Everything that was ever written."""
        self.writes = 0
        self.taking = True
        """Whether the peer reads; what it does not take is buffered."""
        self.buffered = 0
        self.reading = True
        self.closing = self.aborted = self.ended = self._lost = False
        protocol.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        if self.closing:
            return
        self.written += data
        self.writes += 1
        if not self.taking:
            before, self.buffered = self.buffered, self.buffered + len(data)
            if before <= HIGH_WATER_BYTES < self.buffered:
                self.protocol.pause_writing()

    def take(self) -> None:
        """The peer reads everything."""
        above, self.buffered, self.taking = self.buffered > HIGH_WATER_BYTES, 0, True
        if above:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self._lose()

    def abort(self) -> None:
        self.aborted = True
        self._lose()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def _lose(self) -> None:
        first, self.closing = not self.closing, True
        if (first and not self.buffered) or (self.aborted and not self._lost):
            self._lost = True  # what is buffered goes first, unless it is aborted
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


def deliver(connection: asyncio.BufferedProtocol, data: bytes, at_once: int = 50_000) -> None:
    """What a socket would bring, read as the event loop reads it."""
    while data:
        room = connection.get_buffer(-1)
        size = min(len(room), len(data), at_once)
        room[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]
