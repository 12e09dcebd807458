"""HTTP/1.1 requests against PyPI's h11.

A script is a number (1), which says how the bytes are cut, and the bytes of a connection. Promised: every cut gives the
same requests and the same refusal; the exact bytes that we took for one request are one request to h11 too, with the
same body and nothing left over. A parser and a proxy in front of it that disagree there can be made to smuggle.
"""

import re
from itertools import pairwise

import h11

from inference_host.transport.http1_core import HEAD_BYTES_MAX, Parser, Request
from inference_host.transport.http1_head import Refusal

SCRIPT_BYTES_MAX = 600  # it is fed byte by byte
BODY_BYTES_MAX = 100
THEIR_BYTES_MAX = 1 << 20

BLANK_BEFORE_EXTENSION = rb"\r\n[0-9A-Fa-f]+[ \t]+;"
FRAMING_IN_TRAILERS = rb"\r\n\r\n.*\r\n(?:content-length|transfer-encoding):"
STRICTER = re.compile(rb"%b|%b" % (BLANK_BEFORE_EXTENSION, FRAMING_IN_TRAILERS), re.IGNORECASE | re.DOTALL)
"""All that h11 is stricter about: RFC 9112 (7.1.1) wants the one taken, RFC 9110 (6.5.1) the other dropped."""

HEAD = b"POST /v2 HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def play(script: bytes) -> None:
    said = script[1:]
    slices, refused = _one_by_one(said)
    assert _in_pieces(said, 1 + script[0] if script else 1) == ([request for request, _ in slices], refused)
    for request, taken in slices:
        _compare(request, taken)


def _one_by_one(said: bytes) -> tuple[list[tuple[Request, bytes]], int]:
    """Each request with the bytes that it was made of; the status of what was refused, or 0."""
    parser, found, began = Parser(BODY_BYTES_MAX), [], 0
    try:
        for at in range(len(said)):
            parser.feed(said[at : at + 1])
            while (request := parser.next()) is not None:
                found.append((request, said[began : at + 1]))
                began = at + 1
            assert parser.buffered_bytes <= min(at + 1 - began, HEAD_BYTES_MAX + BODY_BYTES_MAX)
    except Refusal as refusal:
        return found, refusal.status
    return found, 0


def _in_pieces(said: bytes, size: int) -> tuple[list[Request], int]:
    parser, found = Parser(BODY_BYTES_MAX), []
    try:
        for start, end in pairwise([*range(0, len(said), size), len(said)]):
            parser.feed(said[start:end])
            while (request := parser.next()) is not None:
                found.append(request)
    except Refusal as refusal:
        return found, refusal.status
    return found, 0


def _compare(request: Request, taken: bytes) -> None:
    while taken.startswith(b"\r\n"):  # h11 does not skip them (RFC 9112, section 2.2)
        taken = taken[2:]
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=THEIR_BYTES_MAX)
    connection.receive_data(taken)
    try:
        head = connection.next_event()
        body = _body(connection)
    except h11.RemoteProtocolError:
        assert STRICTER.search(taken)
        return
    assert isinstance(head, h11.Request)
    assert (head.method.decode(), head.target.decode()) == (request.method, request.target)
    assert {name.decode() for name, _ in head.headers} == request.headers.keys()
    assert body == bytes(request.body)
    assert connection.trailing_data[0] == b""


def _body(connection: h11.Connection) -> bytes:
    body = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), "it waits for more than we took"
        body += event.data
    return body


def seeds() -> dict[str, bytes]:
    """A byte in front says the size of the pieces, less one."""
    connections = {
        "get": b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n",
        "pipelined": (HEAD + b"Content-Length: 2\r\n\r\nab") * 3 + b"\r\n" + HEAD + b"\r\n",
        "headers twice": HEAD + b"X-A: 1\r\nx-a:\t2\xff \r\nConnection: close, x\r\n\r\n",
        "chunked": CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: t\r\n\r\n",
        "chunk with a blank": CHUNKED + b"1 ;a\r\nx\r\n0\r\n\r\n",
        "chunk too long": CHUNKED + b"1\r\nxyz\r\n",
        "end of a line in an extension": CHUNKED + b"1;\nx\r\na\r\n0\r\n\r\n",
        "end of the trailers in a trailer": CHUNKED + b"0\r\nT: t\n\nGET / HTTP/1.1\r\n\r\n",
        "chunk of no number": CHUNKED + b"0x1\r\n",
        "chunk line too long": CHUNKED + b"1;" + b"e" * 300,
        "chunks too large": CHUNKED + b"60\r\n" + bytes(96) + b"\r\n60\r\n",
        "trailers too long": CHUNKED + b"0\r\n" + (b"T: " + b"t" * 500 + b"\r\n") * 10,
        "trailer line too long": CHUNKED + b"0\r\n" + b"t" * 5000,
        "expectation": HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\nab",
        "other expectation": HEAD + b"Expect: gold\r\n\r\n",
        "both lengths": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "length twice": HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        "length of no number": HEAD + b"Content-Length: +2\r\n\r\nab",
        "body too large": HEAD + b"Content-Length: 1000\r\n\r\n",
        "other coding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        "no host": b"GET / HTTP/1.1\r\n\r\n",
        "1.0": b"GET / HTTP/1.0\r\n\r\n",
        "2.0": b"GET / HTTP/2.0\r\n\r\n",
        "no request": b"nonsense\r\n\r\n",
        "folded": HEAD + b"X: a\r\n b\r\n\r\n",
        "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n" + HEAD + b"X: a\nb\r\n\r\n",
        "blank before the colon": HEAD + b"X : a\r\n\r\n",
        "many headers": HEAD + b"X: a\r\n" * 101 + b"\r\n",
        "tls": b"\x16\x03\x01\x02\x00",
        "head too large": HEAD + b"X: " + b"x" * HEAD_BYTES_MAX,
        "many heads": b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(10)),
    }
    return {name: b"\x06" + said for name, said in connections.items()}
