"""gRPC's length-prefixed messages: cuts, lying lengths, and what compressed ones unpack to.

A script is a number (1), which says how the bytes are cut, and the bytes of a body. Promised: every cut gives the same
messages and the same error; a body of one whole message is the same by the short way; nothing unpacks to more than its
limit, by the SDK's reading or by the host's.
"""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress
from struct import pack

from inference_host.transport import h2_messages
from inference_host.transport.encodings import compressed, decompressed
from waypost.errors import MeshError
from waypost.wire.messages import GZIP, MessageReader, only_message, prefix, unpack
from waypost.wire.status import CallError
from waypost.wire.streams import Chunk

SCRIPT_BYTES_MAX = 1 << 10
BYTES_MAX = 70_000  # above what is gathered in a buffer of its own
ZEROS = bytes.fromhex("edc13101000000c2a0f54f6d094fa0") + bytes(67) + bytes.fromhex("80bb01")
"""One more than the limit, deflated."""
Found = list[tuple[bool, bytes]]


def play(script: bytes) -> None:
    body, size = script[1:], 1 + 16 * script[0] if script else 1
    whole = _read(MessageReader(BYTES_MAX), body, len(body) + 1)
    assert _read(MessageReader(BYTES_MAX), body, size) == whole
    hosts = _read(h2_messages.reader(BYTES_MAX), body, size, h2_messages.next_message, h2_messages.finish)
    assert (hosts[0], hosts[1] is None) == (whole[0], whole[1] is None)
    one = only_message(body, BYTES_MAX)
    assert (one is not None) == (whole[1] is None and [packed for packed, _ in whole[0]] == [False])
    assert one is None or whole[0] == [(False, one)]
    for packed, message in whole[0]:
        if packed:
            _unpack(message)


def _read(
    reader: MessageReader,
    body: bytes,
    size: int,
    next_message: Callable[[MessageReader], tuple[bool, Chunk] | None] = MessageReader.next,
    finish: Callable[[MessageReader], None] = MessageReader.finish,
) -> tuple[Found, object]:
    """The messages, and what was wrong behind them. next_message, finish: the SDK's way or the host's."""
    found: Found = []
    try:
        for start in range(0, len(body), size):
            reader.feed(body[start : start + size])
            while (message := next_message(reader)) is not None:
                found.append((message[0], bytes(message[1])))
            assert reader.held_bytes <= start + size
        finish(reader)
    except CallError as error:
        return found, error.status
    except MeshError as error:
        return found, error.reason
    return found, None


def _unpack(message: bytes) -> None:
    theirs = _outcome(lambda: unpack(message, GZIP, BYTES_MAX))
    hosts = _outcome(lambda: bytes(decompressed(message, "gzip", BYTES_MAX)))
    assert theirs == hosts
    if theirs is not None:
        assert len(theirs) <= BYTES_MAX
        assert gzip.decompress(message) == theirs
        assert unpack(compressed([theirs], "gzip"), GZIP, BYTES_MAX) == theirs


def _outcome(read: Callable[[], bytes]) -> bytes | None:
    """None where it is refused."""
    with suppress(CallError, MeshError):
        return read()
    return None


def seeds() -> dict[str, bytes]:
    packed = _member(b"\x01" + pack("<HH", 5, 0xFFFF - 5) + b"hello", b"hello")
    bomb = _member(ZEROS, bytes(BYTES_MAX + 1))
    large = b"x" * 66_000
    bodies = {
        "nothing": b"",
        "empty message": prefix(0),
        "two": prefix(5) + b"hello" + prefix(1) + b"x",
        "large": prefix(len(large)) + large + prefix(0),
        "large, packed": prefix(len(large), compressed=True) + large,
        "cut": prefix(9) + b"hello",
        "cut prefix": prefix(5) + b"hello" + b"\0\0",
        "large, cut": prefix(len(large)) + large[:9],
        "too large": prefix(BYTES_MAX + 1),
        "flag": b"\2" + prefix(0)[1:],
        "packed": prefix(len(packed), compressed=True) + packed,
        "bomb": prefix(len(bomb), compressed=True) + bomb,
        "two members": prefix(2 * len(packed), compressed=True) + packed * 2,
        "half a member": prefix(20, compressed=True) + packed[:20],
        "no gzip": prefix(5, compressed=True) + b"hello",
        "packed nothing": prefix(0, compressed=True),
    }
    return {name: b"\x01" + body for name, body in bodies.items()}


def _member(deflated: bytes, plain: bytes) -> bytes:
    """By hand (RFC 1952): what a library writes differs from one to the next."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflated + pack("<II", zlib.crc32(plain), len(plain))
