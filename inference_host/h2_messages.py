"""gRPC's messages out of the bytes of a stream: each behind a flag and its length (gRPC over HTTP/2, Length-Prefixed-
Message). Lazily: bytes lie in one buffer until somebody asks for the next message, so that a peer who sends ten
thousand tiny ones fills no memory with objects, and knowing what was used tells how far its window may open again.
"""

from inference_host.assembly import LARGE_BYTES, Assembly
from waypost.errors import Exhausted, Invalid
from waypost.wire.messages import PREFIX_BYTES


class Messages:
    """Of one stream. bytes_max: of one message, as sent."""

    __slots__ = ("_buffer", "_bytes_max", "_compressed", "_large", "used")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._large: Assembly | None = None
        self._compressed = False
        self.used = 0
        """Bytes that were handed out, or went where they will be handed out from; whoever gives the peer its window
        back sets it to 0."""

    def feed(self, data: bytes) -> None:
        if self._large is not None:
            taken = self._large.add(data)
            self.used += taken
            data = data[taken:]
        self._buffer += data

    @property
    def held_bytes(self) -> int:
        """Of messages that were not handed out."""
        return len(self._buffer) + (self._large.filled if self._large is not None else 0)

    def next(self) -> tuple[bool, bytes | memoryview] | None:
        """→ (whether it is compressed, the message), or None: more bytes are needed.

        Raises: Exhausted(MESSAGE_TOO_LARGE) as soon as its length is known, Invalid(BAD_FRAMING).
        """
        if self._large is not None:
            return self._finish_large() if self._large.complete else None
        buffer = self._buffer
        if len(buffer) < PREFIX_BYTES:
            return None
        flag, size = buffer[0], int.from_bytes(buffer[1:PREFIX_BYTES], "big")
        self._check(flag, size)
        if size >= LARGE_BYTES:
            return self._begin_large(flag, size)
        end = PREFIX_BYTES + size
        if len(buffer) < end:
            return None
        message = bytes(buffer[PREFIX_BYTES:end])
        del buffer[:end]
        self.used += end
        return flag == 1, message

    def _check(self, flag: int, size: int) -> None:
        if flag > 1:
            raise Invalid("BAD_FRAMING", f"a gRPC message begins with flag {flag}, only 0 and 1 are known")
        if size > self._bytes_max:
            raise Exhausted(
                "MESSAGE_TOO_LARGE",
                f"a message of {size} bytes, at most {self._bytes_max} are taken",
                "send less at once",
            )

    def _begin_large(self, flag: int, size: int) -> tuple[bool, memoryview] | None:
        self._compressed = flag == 1
        self._large = Assembly(size)
        with memoryview(self._buffer) as view:
            taken = self._large.add(view[PREFIX_BYTES:])
        del self._buffer[: PREFIX_BYTES + taken]
        self.used += PREFIX_BYTES + taken
        return self._finish_large() if self._large.complete else None

    def _finish_large(self) -> tuple[bool, memoryview]:
        assert self._large is not None
        message, self._large = self._large.message(), None
        return self._compressed, message
