"""The head of an HTTP/1.1 request: its first line and its headers (RFC 9112). Pure.

Strict where leniency has been used to smuggle requests past a proxy: no bare line feeds, no folded lines, no space
before a colon, one Content-Length, and never both it and a Transfer-Encoding.
"""

import re
from dataclasses import dataclass, field
from typing import Any

HEADERS_MAX = 100

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_DECIMAL = re.compile(r"[0-9]{1,18}")


class Refusal(Exception):
    """Bytes that are no request we take. status: what to answer before closing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Headers(dict[str, str]):
    """Names in lower case; values of repeated ones joined with commas.

    One object is shared by all requests of a connection that begin with the same bytes. It must not be changed, but
    for `note`: that is the application's, for whatever it derives from the headers alone.
    """

    __slots__ = ("note",)

    def __init__(self, *args: Any, **fields: str) -> None:
        super().__init__(*args, **fields)
        self.note: Any = None


@dataclass(slots=True)
class Head:
    """Method and headers, and what follows from them for the body."""

    method: str
    target: str
    headers: Headers = field(default_factory=Headers)
    keep_alive: bool = True
    length: int = 0
    chunked: bool = False
    expects: bool = False


def parse_head(lines: list[bytes]) -> Head:
    """lines: without their ends. Raises: Refusal."""
    found = _REQUEST_LINE.fullmatch(lines[0])
    if found is None:
        raise Refusal(400, "the first line is no HTTP request")
    method, target, major, minor = found.groups()
    if major != b"1":
        raise Refusal(505, "HTTP/1.1 is spoken here, and HTTP/2 with prior knowledge")
    if len(lines) > HEADERS_MAX + 1:
        raise Refusal(431, f"more than {HEADERS_MAX} headers")
    head = Head(method.decode(), target.decode())
    for line in lines[1:]:
        _add_header(head.headers, line)
    _read_connection(head, minor == b"0")
    _read_framing(head)
    return head


def parse_header(line: bytes) -> tuple[str, str]:
    """Its name in lower case, and its value. Raises: Refusal."""
    found = _HEADER.fullmatch(line)
    if found is None:
        raise Refusal(400, "a header line is malformed")
    return found[1].decode().lower(), found[2].decode("latin-1").strip(" \t")


def _add_header(headers: dict[str, str], line: bytes) -> None:
    name, value = parse_header(line)
    if name in headers:
        if name in ("content-length", "host", "transfer-encoding"):
            raise Refusal(400, f"{name} is there twice")
        value = f"{headers[name]}, {value}"
    headers[name] = value


def _read_connection(head: Head, is_1_0: bool) -> None:
    if "host" not in head.headers and not is_1_0:
        raise Refusal(400, "the Host header is missing")
    options = {option.strip() for option in head.headers.get("connection", "").lower().split(",")}
    head.keep_alive = "close" not in options and not is_1_0  # nobody who matters speaks 1.0 any more


def _read_framing(head: Head) -> None:
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
