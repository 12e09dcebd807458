"""What the header blocks of gRPC over HTTP/2 say: a request's to an `Ask`, an answer's status and metadata to blocks.

A client's calls repeat their header block byte for byte, and the wire machine then gives the same `Head` again: what it
asks for is read once and kept in the head's `note`. Answers are made of blocks that are encoded once: the head is a
constant, and of the trailers only the timing is encoded anew with every call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote

from inference_host.transport.methods import SERVER_TIMING, Caller, Method, Reply, Streaming, Trailers, Unary
from inference_host.values.calls import Withdraw
from waypost.errors import Invalid, MeshError, Unsupported
from waypost.rpc.status import DETAILS_KEY, to_status
from waypost.wire import Block, Head, grpc
from waypost.wire.hpack import encode, encode_integer
from waypost.wire.metadata import decode_metadata, encode_binary, parse_timeout, quote_message

Begin: TypeAlias = Callable[[bytes | memoryview, Caller, Reply], Withdraw | None]

STATUS_MESSAGE_CHARS_MAX = 200  # percent-encoding may make twelve bytes of one; the details say it in full
NOT_GRPC = b"gRPC is spoken over HTTP/2 here: POST, content-type application/grpc. The rest is HTTP/1.1.\n"
"""For a person with curl."""
_TEXT = ((b"content-type", b"text/plain"), (b"content-length", b"%d" % len(NOT_GRPC)))
_UNSUPPORTED_TYPE = Block([(b":status", b"415"), *_TEXT])
_WRONG_METHOD = Block([(b":status", b"405"), (b"allow", b"POST"), *_TEXT])

CODINGS = "identity,deflate,gzip"
_ANSWER = ((b":status", b"200"), (b"content-type", grpc.CONTENT_TYPE))
HEADS = {
    "": grpc.ANSWER,
    **{name: Block([*_ANSWER, (b"grpc-encoding", name.encode())]) for name in ("gzip", "deflate")},
}
"""An answer's, by how its messages are compressed."""
_OK = grpc.OK.data
_TIMING = encode([(SERVER_TIMING.encode(), b"")])[:-1]
"""A literal field (RFC 7541, section 6.2.2) up to the length of its value."""
_TIMINGS = [_TIMING + bytes([size]) for size in range(0x7F)]
"""The same up to its value, by its length."""
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


@dataclass(slots=True)
class Ask:
    """What a head asks for. One of `begin`, `streaming`, `refusal` and `wrong` is set."""

    path: str = ""
    begin: Begin | None = None
    streaming: Streaming | None = None
    refusal: MeshError | None = None
    """It is gRPC, but cannot be answered."""
    wrong: tuple[Block, bytes] | None = None
    """It is not gRPC: the whole answer, head and body."""
    settles: bool = False
    """See methods.Unary."""
    open: bool = False
    """No credentials are needed."""
    told: bool = False
    """The call is to be logged, however it ends."""
    authorization: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    coding: str = ""
    """How messages may be compressed, those of the answer too; empty: not at all."""


class Reader:
    """log_all: also calls of quiet methods that went well."""

    def __init__(self, methods: Sequence[Method], *, log_all: bool) -> None:
        self._methods = {method.path.encode(): method for method in methods}
        self._log_all = log_all

    def read(self, head: Head) -> Ask:
        """Keeps it in `head.note`."""
        ask = head.note = self._read(head)
        return ask

    def _read(self, head: Head) -> Ask:
        if grpc.refusal(head) is not None:
            block = _UNSUPPORTED_TYPE if head.method == b"POST" else _WRONG_METHOD
            return Ask(wrong=(block, b"" if head.method == b"HEAD" else NOT_GRPC))
        ask = Ask(path=head.path.decode("latin-1"))
        try:
            self._fill(ask, head)
        except MeshError as error:
            ask.refusal = error
        return ask

    def _fill(self, ask: Ask, head: Head) -> None:
        method = self._methods.get(head.path)
        if method is None:
            raise Unsupported("UNKNOWN_METHOD", f"there is no method {ask.path[:256]!r} here")
        ask.open, ask.told = method.open, self._log_all or not method.quiet
        ask.metadata = _metadata(head)
        ask.authorization = ask.metadata.get("authorization", "")
        ask.timeout_s = _timeout_s(head.get(b"grpc-timeout"))
        ask.coding = _coding(head)
        if isinstance(method.behaviour, Unary):
            ask.begin, ask.settles = method.behaviour.begin, method.behaviour.settles
        else:
            ask.streaming = method.behaviour


class Tails:
    """Trailers of answers that went well, as encoded blocks."""

    def __init__(self) -> None:
        self._trailers: Trailers = ()
        self._block = _OK
        """What those were last time, and their encoding: they are the same object with nearly every call."""

    def block(self, trailers: Trailers, timing: str = "") -> bytes:
        if trailers is not self._trailers:
            self._trailers = trailers
            self._block = _OK + encode([(name.encode(), _text(value)) for name, value in trailers])
        if not timing:
            return self._block
        value = timing.encode()
        size = len(value)
        start = _TIMINGS[size] if size < len(_TIMINGS) else _TIMING + encode_integer(size, 0x7F, 0)
        return b"".join((self._block, start, value))


def failure(error: MeshError, *, head_sent: bool = False) -> Block:
    """The end of a call that failed: trailers, or where nothing was sent before, head and trailers in one."""
    status = to_status(error)
    details = encode_binary(status.SerializeToString())
    pairs = [
        (b"grpc-status", b"%d" % status.code),
        (b"grpc-message", quote_message(status.message[:STATUS_MESSAGE_CHARS_MAX])),
    ]
    if len(pairs[1][1]) + len(details) <= grpc.TRAILERS_BYTES_MAX:
        pairs.append((DETAILS_KEY.encode(), details))
    if error.reason == "UNKNOWN_ENCODING":
        pairs.append((b"grpc-accept-encoding", CODINGS.encode()))
    return Block(pairs if head_sent else [*_ANSWER, *pairs])


def _coding(head: Head) -> str:
    """Raises: Unsupported(UNKNOWN_ENCODING); the answer names what we know, as the protocol wants it."""
    coding = grpc.encoding_of(head).decode("latin-1")
    if coding != "identity" and coding not in HEADS:
        raise Unsupported("UNKNOWN_ENCODING", f"grpc-encoding {coding[:64]!r} is not known", f"use one of {CODINGS}")
    return "" if coding == "identity" else coding


def _timeout_s(value: bytes | None) -> float | None:
    """Raises: Invalid(BAD_TIMEOUT)."""
    try:
        return None if value is None else parse_timeout(value)
    except ValueError as error:
        raise Invalid("BAD_TIMEOUT", str(error)) from None


def _metadata(head: Head) -> dict[str, str]:
    """The caller's own, as text: binary values stay behind. Raises: Invalid(BAD_METADATA)."""
    try:
        return {name: value for name, value in decode_metadata(head) if isinstance(value, str)}
    except ValueError as error:
        raise Invalid("BAD_METADATA", str(error)) from None


def _text(value: str) -> bytes:
    """Metadata is printable ASCII; a name that somebody gave his model may be more."""
    plain = value.isascii() and value.isprintable()
    return (value if plain else quote(value, safe=_PRINTABLE)).strip(" ").encode()
