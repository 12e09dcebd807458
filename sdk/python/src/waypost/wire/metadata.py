"""How gRPC writes values into header fields: deadlines, status messages, binary metadata.

The rules are gRPC's "gRPC over HTTP2" (PROTOCOL-HTTP2), section Requests and Responses. Reading is lenient where that
document says so; writing raises ValueError for what a peer would have to refuse.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from urllib.parse import quote_from_bytes, unquote_to_bytes

from waypost.wire.heads import Head

TIMEOUT_DIGITS_MAX = 8
_UNITS_NS = {b"n": 1, b"u": 10**3, b"m": 10**6, b"S": 10**9, b"M": 60 * 10**9, b"H": 3600 * 10**9}  # finest first
_TIMEOUT = re.compile(rb"([0-9]{1,%d})([HMSmun])" % TIMEOUT_DIGITS_MAX)
_AMOUNT_MAX = 10**TIMEOUT_DIGITS_MAX - 1
_TIMEOUT_NS_MAX = _AMOUNT_MAX * _UNITS_NS[b"H"]

_NAME = re.compile(r"[0-9a-z_.-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_UNQUOTED = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))
_BINARY = "-bin"
_RESERVED_PREFIX = "grpc-"  # the protocol's own
_TRANSPORT = frozenset({b"te", b"content-type", b"user-agent", b"content-length", b"host"})

Metadata = Iterable[tuple[str, str | bytes]]
"""Names in lower case; bytes if the name ends in -bin, printable ASCII else."""


def parse_timeout(value: bytes) -> float:
    """grpc-timeout in seconds. Raises ValueError."""
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise ValueError(f"grpc-timeout is {value[:32]!r}, not up to eight digits and one of H M S m u n")
    return int(match[1]) * _UNITS_NS[match[2]] / 1e9


def format_timeout(seconds: float) -> bytes:
    """In the finest unit with eight digits, rounded up: a call may end late by a rounding, never early.

    Below 0 it is 0, above eight digits of hours, or infinite, it is those.
    """
    left_ns = round(max(0.0, min(seconds * 1e9, float(_TIMEOUT_NS_MAX))))
    unit = next((unit for unit, size_ns in _UNITS_NS.items() if left_ns <= _AMOUNT_MAX * size_ns), b"H")
    amount = -(-left_ns // _UNITS_NS[unit])
    return b"%d%s" % (min(amount, _AMOUNT_MAX), unit)


def quote_message(message: str) -> bytes:
    """grpc-message: UTF-8, all but printable ASCII percent-encoded, and the percent sign."""
    return quote_from_bytes(message.encode("utf-8", "replace"), safe=_UNQUOTED).encode()


def unquote_message(value: bytes) -> str:
    """The reverse; what is not valid stays as it is, for an error must never be lost because of its text."""
    return unquote_to_bytes(value).decode("utf-8", "replace")


def encode_binary(value: bytes) -> bytes:
    """Base64 without padding, as the document asks of senders."""
    return b64encode(value).rstrip(b"=")


def decode_binary(value: bytes) -> bytes:
    """Base64 with or without padding. Raises ValueError."""
    try:
        return b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except Base64Error as error:
        raise ValueError(f"binary metadata is not base64: {error}") from None


def encode_metadata(metadata: Metadata) -> tuple[tuple[bytes, bytes], ...]:
    """Header fields. Raises ValueError for a name or a value that gRPC does not allow."""
    return tuple(_encode_entry(name, value) for name, value in metadata)


def _encode_entry(name: str, value: str | bytes) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name):
        raise ValueError(f"metadata name {name!r} must be of 0-9 a-z _ . -")
    if name.endswith(_BINARY) != isinstance(value, bytes):
        raise ValueError(f"metadata {name!r} is {type(value).__name__}: names of bytes, and only they, end in -bin")
    if isinstance(value, bytes):
        return name.encode(), encode_binary(value)
    if not _PRINTABLE.fullmatch(value) or value != value.strip():
        raise ValueError(f"metadata {name!r} must be printable ASCII without blanks at its ends")
    return name.encode(), value.encode()


def decode_metadata(head: Head) -> list[tuple[str, str | bytes]]:
    """What the caller or the callee put there: without the protocol's own fields. Raises ValueError."""
    entries: list[tuple[str, str | bytes]] = []
    for field in head.fields:
        if field.name in _TRANSPORT or field.name.startswith(_RESERVED_PREFIX.encode()):
            continue
        name = field.name.decode()
        if not name.endswith(_BINARY):
            entries.append((name, field.value.decode("latin-1")))
        else:  # some libraries join several values with commas
            entries += [(name, decode_binary(part.strip())) for part in field.value.split(b",")]
    return entries
