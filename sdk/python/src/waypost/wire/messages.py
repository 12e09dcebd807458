"""Length-prefixed messages: what gRPC puts into the body of a call (PROTOCOL-HTTP2, section Length-Prefixed-Message).

    1 byte   compressed: 0 or 1
    4 bytes  length, big-endian
    message

A `MessageReader` takes the body in any cut. A length above the limit is refused when its prefix is read, before
anything is gathered; a compressed message is unpacked no further than the limit, so that a kilobyte cannot become a
gigabyte. Large messages may be gathered where they will be used.
"""

import zlib
from collections.abc import Callable
from struct import Struct
from typing import Protocol

from waypost.wire.status import CallError, Status
from waypost.wire.streams import Chunk

MESSAGE_BYTES_MAX = 4 << 20  # gRPC's own default
GATHER_BYTES_MIN = 64 << 10  # from here on a second copy costs more than making room for the message, about 3 µs
IDENTITY, GZIP = b"identity", b"gzip"
ENCODINGS = (IDENTITY, GZIP)

_prefix = Struct(">BI")
PREFIX_BYTES = _prefix.size
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS  # zlib's way to say "with gzip's header"
_GZIP_LEVEL = 1  # tensors hardly shrink further at any level, and this one is four times faster than the default


def prefix(size: int, *, compressed: bool = False) -> bytes:
    """What goes before a message of `size` bytes."""
    return _prefix.pack(compressed, size)


def pack(message: bytes, encoding: bytes = IDENTITY) -> tuple[bytes, bytes]:
    """Prefix and message, the parts of a body. encoding: one of ENCODINGS."""
    if encoding == IDENTITY:
        return prefix(len(message)), message
    packer = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS)
    packed = packer.compress(message) + packer.flush()
    return prefix(len(packed), compressed=True), packed


def unpack(message: Chunk, encoding: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> bytes:
    """A message whose compressed flag is set. encoding: what the call's head said. Raises CallError."""
    if encoding == IDENTITY:
        raise CallError(Status.INTERNAL, "a message is compressed, but the call has no grpc-encoding")
    if encoding not in ENCODINGS:
        name = encoding[:64].decode("ascii", "replace")
        raise CallError(Status.UNIMPLEMENTED, f"grpc-encoding {name} is not supported")
    unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    try:
        plain = unpacker.decompress(message, bytes_max + 1)
    except zlib.error as error:
        raise CallError(Status.INTERNAL, f"a message is no gzip: {error}") from None
    if len(plain) > bytes_max:
        raise _too_large(f"unpacks to more than {bytes_max}", bytes_max)
    if not unpacker.eof or unpacker.unused_data:
        raise CallError(Status.INTERNAL, "a message is not one whole gzip member")
    return plain


def only_message(body: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> bytes | None:
    """The message of a body that is one plain whole message within the limit; None for anything else.

    This is the warm path of a unary call; for None, ask a `MessageReader` what it is instead.
    """
    size = len(body) - PREFIX_BYTES
    if 0 <= size <= bytes_max and _prefix.unpack_from(body) == (0, size):
        return body[PREFIX_BYTES:]
    return None


class Gathering(Protocol):
    """A large message on its way, in memory of the owner's choosing: aligned for its tensors, for instance."""

    filled: int
    """Bytes of it that are here."""

    @property
    def room(self) -> memoryview:
        """For those that are missing. Who writes there himself adds to `filled`."""

    def add(self, data: Chunk) -> int:
        """Take what is missing, at most all of `data`. → how many bytes"""

    @property
    def complete(self) -> bool: ...

    def message(self) -> Chunk:
        """All of it."""


class MessageReader:
    """One direction of one call. bytes_max: of one message, as sent. gather: makes room for one of so many bytes.

    Lazy: bytes lie in one buffer until somebody asks for the next message. So ten thousand tiny ones are no objects
    yet, and `used` tells how far the peer's window may open again.
    """

    __slots__ = ("_buffer", "_bytes_max", "_compressed", "_gather", "_large", "used")

    def __init__(self, bytes_max: int = MESSAGE_BYTES_MAX, gather: Callable[[int], Gathering] | None = None) -> None:
        self._buffer = bytearray()
        self._bytes_max = bytes_max
        self._gather = gather
        self._large: Gathering | None = None
        self._compressed = False
        self.used = 0
        """Bytes that were handed out, or lie where they will be handed out from. Whoever acknowledges them sets it
        to 0."""

    @property
    def held_bytes(self) -> int:
        """Of messages that were not handed out."""
        return len(self._buffer) + (self._large.filled if self._large is not None else 0)

    def feed(self, data: Chunk) -> None:
        if self._large is not None:
            taken = self._large.add(data)
            self.used += taken
            data = data[taken:]
        self._buffer += data

    @property
    def gathering(self) -> Gathering | None:
        """The large message that is on its way."""
        return self._large

    def next(self) -> tuple[bool, Chunk] | None:
        """→ (whether it is compressed, the message); None: more must come. Raises CallError; the call is over then."""
        if self._large is not None:
            return self._finish_large(self._large)
        buffer = self._buffer
        if len(buffer) < PREFIX_BYTES:
            return None
        flag, size = _prefix.unpack_from(buffer)
        self._check(flag, size)
        if self._gather is not None and size >= GATHER_BYTES_MIN:
            return self._begin_large(flag == 1, self._gather(size))
        end = PREFIX_BYTES + size
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            message = bytes(view[PREFIX_BYTES:end])
        del buffer[:end]
        self.used += end
        return flag == 1, message

    def finish(self) -> None:
        """The body has ended, and `next` gives None. Raises CallError if that was inside a message."""
        if self._buffer or self._large is not None:
            raise CallError(Status.INTERNAL, "the stream ended inside a message")

    def _begin_large(self, compressed: bool, large: Gathering) -> tuple[bool, Chunk] | None:
        self._compressed, self._large = compressed, large
        with memoryview(self._buffer) as view:
            end = PREFIX_BYTES + large.add(view[PREFIX_BYTES:])
        del self._buffer[:end]
        self.used += end
        return self._finish_large(large)

    def _finish_large(self, large: Gathering) -> tuple[bool, Chunk] | None:
        if not large.complete:
            return None
        self._large = None
        return self._compressed, large.message()

    def _check(self, flag: int, size: int) -> None:
        if flag > 1:
            raise CallError(Status.INTERNAL, f"a message begins with flag {flag}, only 0 and 1 are known")
        if size > self._bytes_max:
            raise _too_large(f"has {size}", self._bytes_max)


def _too_large(what: str, bytes_max: int) -> CallError:
    return CallError(Status.RESOURCE_EXHAUSTED, f"a message {what} bytes, at most {bytes_max} are taken")
