"""HTTP/1.1 requests out of bytes, as they come. Pure: no sockets, no clock.

    parser.feed(bytes)    any number of times, any cut
    parser.next()         the next whole request, or None: more bytes are needed
    parser.awaits_continue    a client holds its body back until it hears `100 Continue`

Strict where leniency has been used to smuggle requests past a proxy (RFC 9112): no bare line feeds, no folded lines, no
space before a colon, one Content-Length, and never both it and a Transfer-Encoding. Whatever is wrong is a `Refusal`
with a status; the connection cannot go on after it.
"""

import re
from dataclasses import dataclass, field
from enum import Enum, auto

HEAD_BYTES_MAX = 32 << 10  # request line and headers; a token has 500 bytes, gateways add a few hundred
HEADERS_MAX = 100
CHUNK_LINE_BYTES_MAX = 256  # a size in hex; extensions, which nobody uses, share it
TRAILER_BYTES_MAX = 4 << 10  # they are read and dropped

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,18}")


class Refusal(Exception):
    """Bytes that are no request we take. status: what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Request:
    """One request. header names are lower case; values of repeated ones are joined with commas."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True


@dataclass(slots=True)
class _Head:
    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    keep_alive: bool = True
    length: int = 0
    chunked: bool = False
    expects: bool = False

    def request(self, body: bytes) -> Request:
        return Request(self.method, self.target, self.headers, body, self.keep_alive)


class _At(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    TRAILER = auto()


class Parser:
    """The requests of one connection, in order."""

    def __init__(self, body_bytes_max: int) -> None:
        """body_bytes_max: larger bodies are refused with 413, before they are read where their length is told."""
        self._body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._at = _At.HEAD
        self._head: _Head | None = None
        self._chunk_left = 0
        self._body = bytearray()
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def buffered_bytes(self) -> int:
        """What was fed and belongs to no request yet, or to one that is not whole."""
        return len(self._buffer) + len(self._body)

    @property
    def awaits_continue(self) -> bool:
        """True while a head with `Expect: 100-continue` was read and nothing of its body."""
        head = self._head
        return head is not None and head.expects and not self._buffer and not self._body

    @property
    def idle(self) -> bool:
        """Whether we stand between two requests."""
        return self._at is _At.HEAD and not self._buffer

    def next(self) -> Request | None:
        """Raises: Refusal."""
        while True:
            match self._at:
                case _At.HEAD:
                    if not self._read_head():
                        return None
                case _At.BODY:
                    return self._read_body()
                case _At.CHUNK_SIZE:
                    if not self._read_chunk_size():
                        return None
                case _At.CHUNK:
                    if not self._read_chunk():
                        return None
                case _At.TRAILER:
                    line = self._line(TRAILER_BYTES_MAX, "the trailers are")
                    if line is None:
                        return None
                    if not line:
                        return self._finish(bytes(self._body))
                    self._count_trailer(line)

    def _read_head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):  # some clients end a body with one that was not counted
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        if end < 0:
            if len(self._buffer) >= HEAD_BYTES_MAX:
                raise Refusal(431, f"the request's head is larger than {HEAD_BYTES_MAX} bytes")
            _refuse_other_protocols(self._buffer)
            return False
        lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + 4]
        self._head = head = _parse_head(lines)
        if head.length > self._body_bytes_max:
            raise self._too_large()
        self._at = _At.CHUNK_SIZE if head.chunked else _At.BODY
        return True

    def _read_body(self) -> Request | None:
        assert self._head is not None
        length = self._head.length
        if len(self._buffer) < length:
            return None
        body = bytes(memoryview(self._buffer)[:length]) if length else b""
        del self._buffer[:length]
        return self._finish(body)

    def _read_chunk_size(self) -> bool:
        line = self._line(CHUNK_LINE_BYTES_MAX, "a chunk's size is")
        if line is None:
            return False
        size = line.partition(b";")[0].rstrip(b" \t")
        if not _HEX.fullmatch(size):
            raise Refusal(400, "a chunk's size is no hexadecimal number")
        self._chunk_left = int(size, 16)
        if len(self._body) + self._chunk_left > self._body_bytes_max:
            raise self._too_large()
        self._at = _At.CHUNK if self._chunk_left else _At.TRAILER
        return True

    def _read_chunk(self) -> bool:
        piece = self._buffer[: self._chunk_left]
        del self._buffer[: len(piece)]
        self._body += piece
        self._chunk_left -= len(piece)
        if self._chunk_left or len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise Refusal(400, "a chunk is longer than its size says")
        del self._buffer[:2]
        self._at = _At.CHUNK_SIZE
        return True

    def _line(self, limit: int, what: str) -> bytes | None:
        """The next line without its end; None where it is not whole yet."""
        end = self._buffer.find(b"\r\n", 0, limit)
        if end < 0:
            if len(self._buffer) >= limit:
                raise Refusal(400, f"{what} longer than {limit} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _count_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > TRAILER_BYTES_MAX:
            raise Refusal(400, f"the trailers are longer than {TRAILER_BYTES_MAX} bytes")

    def _finish(self, body: bytes) -> Request:
        assert self._head is not None
        request = self._head.request(body)
        self._head, self._at, self._trailer_bytes = None, _At.HEAD, 0
        self._body = bytearray()
        return request

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self._body_bytes_max} bytes")


def _parse_head(lines: list[bytes]) -> _Head:
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise Refusal(400, "the first line is no HTTP request")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise Refusal(505, "HTTP/1.1 is spoken here; gRPC has an address of its own")
    if len(lines) > HEADERS_MAX + 1:
        raise Refusal(431, f"more than {HEADERS_MAX} headers")
    head = _Head(method.decode(), target.decode())
    for line in lines[1:]:
        _add_header(head.headers, line)
    _read_connection(head, minor == b"0")
    _read_framing(head)
    return head


def _add_header(headers: dict[str, str], line: bytes) -> None:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise Refusal(400, "a header line is malformed")
    name = found[1].decode().lower()
    value = found[2].decode("latin-1").strip(" \t")
    if name in headers:
        if name in ("content-length", "host", "transfer-encoding"):
            raise Refusal(400, f"{name} is there twice")
        value = f"{headers[name]}, {value}"
    headers[name] = value


def _read_connection(head: _Head, is_1_0: bool) -> None:
    if "host" not in head.headers and not is_1_0:
        raise Refusal(400, "the Host header is missing")
    options = {option.strip() for option in head.headers.get("connection", "").lower().split(",")}
    head.keep_alive = "close" not in options and not is_1_0  # nobody who matters speaks 1.0 any more


def _read_framing(head: _Head) -> None:
    coding = head.headers.get("transfer-encoding")
    length = head.headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise Refusal(400, "both Content-Length and Transfer-Encoding")
        if coding.lower() != "chunked":
            raise Refusal(501, f"transfer coding {coding!r}; only chunked is known")
        head.chunked = True
    elif length is not None:
        if not _DECIMAL.fullmatch(length):
            raise Refusal(400, "Content-Length is no number")
        head.length = int(length)
    expectation = head.headers.get("expect", "").lower()
    if expectation not in ("", "100-continue"):
        raise Refusal(417, f"expectation {expectation!r}")
    head.expects = bool(expectation) and (head.chunked or head.length > 0)


def _refuse_other_protocols(buffer: bytearray) -> None:
    """Sooner than by waiting for the end of a head that never comes."""
    if buffer.startswith(b"PRI * HTTP/2"):
        raise Refusal(505, "HTTP/1.1 is spoken here; gRPC has an address of its own")
    if buffer[:1] == b"\x16":
        raise Refusal(400, "TLS is not spoken here")
