"""HTTP/1.1 as values: requests out of bytes as they come, responses to bytes. Pure: no sockets, no clock.

    parser.whole(bytes)   the request in one read, where it is just that and its head is known: nearly always
    parser.feed(bytes)    any number of times, any cut
    parser.next()         the next whole request, or None: more bytes are needed
    parser.awaits_continue    a client holds its body back until it hears `100 Continue`

A client sends the same head again and again, but for a few bytes of its body: heads are remembered by their bytes, and
one that was seen is not parsed again.

Whatever is wrong is a `Refusal` with a status (http1_head); the connection cannot go on after it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from inference_host.transport.http1_head import Head, Headers, Refusal, parse_head, parse_header
from inference_host.transport.message_buffer import LARGE_BYTES, MessageBuffer

HEAD_BYTES_MAX = 32 << 10  # request line and headers; a token has 500 bytes, gateways add a few hundred
CHUNK_LINE_BYTES_MAX = 256  # a size in hex; extensions, which nobody uses, share it
TRAILER_BYTES_MAX = 4 << 10  # they are checked and dropped
HEADS_REMEMBERED_MAX = 8  # per connection; a client alternates between two or three
HEAD_REMEMBERED_BYTES_MAX = 2 << 10  # with a token; together at most 16 KB per connection

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
"""Extensions are dropped, but nothing in one may pass for the end of a line elsewhere (RFC 9112, section 11.2)."""


class Request(NamedTuple):
    """One request. A tuple: made in a third of the time that a frozen dataclass takes."""

    method: str
    target: str
    headers: Headers
    body: bytes | memoryview = b""
    """Read-only. A large one ends on an aligned address (message_buffer.py)."""
    keep_alive: bool = True


@dataclass(slots=True)
class Response:
    status: int
    body: Sequence[bytes | memoryview] = ()
    """Parts, sent one after the other."""
    headers: Sequence[tuple[str, str]] = ()
    """Mostly the same object with every answer of a model."""
    content_type: str = "application/json"
    timing: str = ""
    """The value of `server-timing`, which never is."""


Answer: TypeAlias = Callable[[Response], None]
"""Takes the one answer to a request, at once or later."""


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
        self._head: Head | None = None
        self._heads: dict[bytes, Head] = {}
        self._searched = 0
        self._chunk_left = 0
        self._body = bytearray()
        self._large: MessageBuffer | None = None
        self._trailer_bytes = 0

    def whole(self, data: bytes) -> Request | None:
        """What `feed` and `next` would give for `data`; None, and nothing done, where they are to be asked."""
        if self._buffer or self._at is not _At.HEAD:
            return None
        end = data.find(b"\r\n\r\n")
        head = self._heads.get(data[:end])
        if head is None or head.chunked or head.length >= LARGE_BYTES or len(data) != end + 4 + head.length:
            return None
        return Request(head.method, head.target, head.headers, data[end + 4 :], head.keep_alive)

    @property
    def room(self) -> memoryview | None:
        """Where the next bytes of a large body belong: read into their place they need not be fed. See `gathered`."""
        return self._large.room if self._large is not None and not self._large.complete else None

    def gathered(self, size: int) -> None:
        """So many bytes have been written to `room`."""
        assert self._large is not None
        self._large.filled += size

    def feed(self, data: bytes) -> None:
        if self._large is not None:
            data = data[self._large.add(data) :]
        self._buffer += data

    @property
    def buffered_bytes(self) -> int:
        """What was fed and belongs to no request yet, or to one that is not whole."""
        return len(self._buffer) + len(self._body) + (self._large.filled if self._large is not None else 0)

    @property
    def awaits_continue(self) -> bool:
        """True while a head with `Expect: 100-continue` was read and nothing of its body."""
        return self._head is not None and self._head.expects and not self.buffered_bytes

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
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # some clients end a body with one that was not counted
            del buffer[:2]
            self._searched = 0
        end = buffer.find(b"\r\n\r\n", self._searched, HEAD_BYTES_MAX)
        if end < 0:
            self._await_head()
            return False
        raw = bytes(buffer[:end])
        del buffer[: end + 4]
        self._searched = 0
        self._head = head = self._heads.get(raw) or self._new_head(raw)
        self._at = _At.CHUNK_SIZE if head.chunked else _At.BODY
        if head.length >= LARGE_BYTES:
            self._begin_large(head.length)
        return True

    def _await_head(self) -> None:
        if len(self._buffer) >= HEAD_BYTES_MAX:
            raise Refusal(431, f"the request's head is larger than {HEAD_BYTES_MAX} bytes")
        if self._buffer[:1] == b"\x16":  # sooner than by waiting for the end of a head that never comes
            raise Refusal(400, "TLS is not spoken here")
        self._searched = max(0, len(self._buffer) - 3)

    def _new_head(self, raw: bytes) -> Head:
        head = parse_head(raw.split(b"\r\n"))
        if head.length > self._body_bytes_max:
            raise self._too_large()
        if len(raw) <= HEAD_REMEMBERED_BYTES_MAX:
            if len(self._heads) >= HEADS_REMEMBERED_MAX:
                self._heads.pop(next(iter(self._heads)))
            self._heads[raw] = head
        return head

    def _begin_large(self, length: int) -> None:
        self._large = MessageBuffer(length)
        taken = self._large.add(memoryview(self._buffer))
        del self._buffer[:taken]

    def _read_body(self) -> Request | None:
        assert self._head is not None
        if self._large is not None:
            return self._finish(self._large.message()) if self._large.complete else None
        length = self._head.length
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length]) if length else b""
        del self._buffer[:length]
        return self._finish(body)

    def _read_chunk_size(self) -> bool:
        line = self._line(CHUNK_LINE_BYTES_MAX, "a chunk's size is")
        if line is None:
            return False
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise Refusal(400, "a chunk's size is no hexadecimal number")
        self._chunk_left = int(found[1], 16)
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
        parse_header(line)
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > TRAILER_BYTES_MAX:
            raise Refusal(400, f"the trailers are longer than {TRAILER_BYTES_MAX} bytes")

    def _finish(self, body: bytes | memoryview) -> Request:
        head = self._head
        assert head is not None
        request = Request(head.method, head.target, head.headers, body, head.keep_alive)
        self._head, self._at = None, _At.HEAD
        self._large = None
        if self._body or self._trailer_bytes:
            self._body, self._trailer_bytes = bytearray(), 0
        return request

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is larger than {self._body_bytes_max} bytes")


class Renderer:
    """Writes the heads of responses. What one has in common with the one before is not written anew."""

    def __init__(self) -> None:
        self._headers: Sequence[tuple[str, str]] = ()
        self._rest: tuple[int, str, str, bool] | None = None
        self._start = b""

    def head(self, response: Response, size: int, *, date: str, keep: bool) -> bytes:
        """size: of the body. date: as HTTP writes it. keep: whether the connection stays open."""
        rest = (response.status, response.content_type, date, keep)
        if response.headers is not self._headers or rest != self._rest:
            self._headers, self._rest = response.headers, rest
            self._start = _start(response, date, keep=keep)
        timing = f"server-timing: {response.timing}\r\n" if response.timing else ""
        return b"%bcontent-length: %d\r\n%b\r\n" % (self._start, size, timing.encode())


def _start(response: Response, date: str, *, keep: bool) -> bytes:
    """The status line, and the headers that many responses share."""
    close = "" if keep else "connection: close\r\n"
    headers = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    if not headers.isascii() or headers.count("\n") != len(response.headers):
        headers = "".join([f"{name}: {_quoted(value)}\r\n" for name, value in response.headers])
    status = _status_line(response.status)
    return f"{status}date: {date}\r\ncontent-type: {response.content_type}\r\n{headers}{close}".encode("latin-1")


def _quoted(value: str) -> str:
    """A header's value is printable ASCII; a name that somebody gave his model may be more."""
    return quote(value, safe=_PRINTABLE)


@lru_cache(maxsize=64)  # more than there are statuses in use
def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    return f"HTTP/1.1 {status} {phrase}\r\n"
