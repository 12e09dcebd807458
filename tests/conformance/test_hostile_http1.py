"""Clients of HTTP/1.1 that mean no good, over real sockets: one answer, and their connection's end; no harm to others.

A request that a proxy in front could understand otherwise than we do is refused and its connection ended, so that
nothing behind it is ever taken for a request (RFC 9112, section 11.2).
"""

import contextlib
import gzip
import json
import socket
import zlib
from collections.abc import Iterator

import pytest

from inference_host.transport.http1_core import CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, TRAILER_BYTES_MAX
from inference_host.transport.http1_head import HEADERS_MAX
from tests.conformance.hosts import RunningHost
from waypost.rpc import MESSAGE_BYTES_MAX

pytestmark = pytest.mark.usefixtures("neighbour")
PATIENCE_S = 20.0
INFER = "/v2/models/affine/infer"
SMUGGLED = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
"""A request that nobody sent, if it is answered."""


@pytest.fixture
def wire(repository: RunningHost) -> Iterator[socket.socket]:
    with connection(repository) as made:
        yield made
    assert repository.process.poll() is None


def connection(host: RunningHost) -> socket.socket:
    name, _, port = host.address.rpartition(":")
    return socket.create_connection((name, int(port)), timeout=PATIENCE_S)


def post(*headers: str, body: bytes = b"", path: str = INFER) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode("latin-1") + body


def chunked(body: bytes) -> bytes:
    return post("Transfer-Encoding: chunked", body=body)


def everything(wire: socket.socket) -> bytes:
    """All that is said until the connection ends."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := wire.recv(1 << 16):
            said += piece
    return said


def refusal(said: bytes) -> int:
    """The status of the only answer, which ends the connection and says why."""
    assert said.count(b"HTTP/1.1 ") == 1
    head, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert json.loads(body)["error"]
    return int(head.split()[1])


SMUGGLING: dict[str, bytes] = {
    "both lengths": post("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "both lengths, the other way round": post("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n"),
    "two lengths": post("Content-Length: 0", "Content-Length: 41"),
    "two lengths that are equal": post("Content-Length: 0", "Content-Length: 0"),
    "two lengths in one": post("Content-Length: 0, 41"),
    "a length with a sign": post("Content-Length: +0"),
    "a negative length": post("Content-Length: -41"),
    "a length with an underscore": post("Content-Length: 4_1"),
    "a hexadecimal length": post("Content-Length: 0x29"),
    "a length of other digits": post("Content-Length: \xb2"),
    "a coding before chunked": post("Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n"),
    "a coding after chunked": post("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"),
    "a coding that only looks like it": post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a coding in two lines": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "a coding behind a vertical tab": post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a blank before the colon": post("Transfer-Encoding : chunked", body=b"0\r\n\r\n"),
    "a folded coding": post("Transfer-Encoding:", " chunked", body=b"0\r\n\r\n"),
    "a bare line feed in a value": post("X: a\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "a bare carriage return in a value": post("X: a\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "a zero in a value": post("X: a\0b"),
    "a name of blanks": post(" : a"),
    "two hosts": post("Host: b"),
    "a chunk with a sign": chunked(b"+0\r\n\r\n"),
    "a chunk in C's notation": chunked(b"0x0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"1\r\nab\r\n0\r\n\r\n"),
    "a chunk behind a line feed": chunked(b"0\n\n"),
    "a line's end in an extension": chunked(b"0;\n\r\n\r\n"),
    "a line's end in a trailer": chunked(b"0\r\nT: a\n\n\r\n\r\n"),
    "a trailer that is none": chunked(b"0\r\nGET / HTTP/1.1\r\n\r\n"),
}


@pytest.mark.parametrize("what", sorted(SMUGGLING))
def test_what_could_be_understood_otherwise_hides_no_request(wire: socket.socket, what: str) -> None:
    wire.sendall(SMUGGLING[what] + SMUGGLED)
    assert refusal(everything(wire)) in {400, 501}


TOO_MUCH: dict[str, tuple[bytes, int]] = {
    "a head": (post("X: " + "x" * HEAD_BYTES_MAX), 431),
    "a head without an end": (b"GET /" + b"x" * (2 * HEAD_BYTES_MAX), 431),
    "headers": (post(*["X: 1"] * HEADERS_MAX), 431),
    "a body, it says": (post(f"Content-Length: {MESSAGE_BYTES_MAX + 1}"), 413),
    "a chunk, it says": (chunked(b"%x\r\n" % (MESSAGE_BYTES_MAX + 1)), 413),
    "digits of a chunk": (chunked(b"0" * (CHUNK_LINE_BYTES_MAX + 1)), 400),
    "an extension": (chunked(b"1;" + b"x" * CHUNK_LINE_BYTES_MAX), 400),
    "a trailer": (chunked(b"0\r\nT: " + b"x" * TRAILER_BYTES_MAX), 400),
    "trailers": (chunked(b"0\r\n" + b"T: x\r\n" * TRAILER_BYTES_MAX), 400),
}


@pytest.mark.parametrize("what", sorted(TOO_MUCH))
def test_too_much_of_anything_is_refused_before_it_is_gathered(wire: socket.socket, what: str) -> None:
    said, status = TOO_MUCH[what]
    with contextlib.suppress(ConnectionError):  # what is left of it may meet a closed door
        wire.sendall(said)
    assert refusal(everything(wire)) == status


def test_a_body_of_the_smallest_chunks_is_a_body(wire: socket.socket) -> None:
    """It costs its sender five bytes for each of ours, and nobody else anything."""
    wire.sendall(chunked(b"1;e=f\r\n \r\n" * 20_000 + b"2\r\n{}\r\n0\r\n\r\n"))
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 400 ")  # the model's inputs are missing


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_unpacks_to_a_flood_is_refused(wire: socket.socket, coding: str) -> None:
    bomb = (gzip if coding == "gzip" else zlib).compress(bytes(4 * MESSAGE_BYTES_MAX))
    wire.sendall(post(f"Content-Encoding: {coding}", f"Content-Length: {len(bomb)}", body=bomb))
    said = wire.recv(1 << 16)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"BODY_TOO_LARGE" in said


def test_json_that_is_nested_without_end_is_refused(wire: socket.socket) -> None:
    body = b'{"inputs":' + b"[" * 1_000_000
    wire.sendall(post(f"Content-Length: {len(body)}", body=body))
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("shape", ["[2147483647, 2147483647]", "[-1]", "[0, 9223372036854775808]", "[1e9]", "[[4]]"])
def test_a_shape_that_lies_costs_its_sender_an_error(wire: socket.socket, shape: str) -> None:
    body = f'{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": {shape}, "data": [1]}}]}}'.encode()
    wire.sendall(post(f"Content-Length: {len(body)}", body=body))
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("length", ["1e3", "-1", "99999999999999999999", "²", ""])
def test_a_length_of_the_json_that_lies_costs_its_sender_an_error(wire: socket.socket, length: str) -> None:
    wire.sendall(post("Content-Length: 4", f"Inference-Header-Content-Length: {length}", body=b"abcd"))
    assert wire.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


def test_who_pipelines_and_does_not_read_is_not_read_for_ever(wire: socket.socket) -> None:
    wire.settimeout(2.0)
    sent = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(10_000):
            wire.sendall(SMUGGLED * 100)
            sent += 1
    assert sent < 10_000


def test_half_requests_on_many_connections_keep_nobody_out(repository: RunningHost) -> None:
    """Slowloris: heads and bodies that never become whole."""
    with contextlib.ExitStack() as slow:
        for number in range(200):
            wire = slow.enter_context(connection(repository))
            wire.sendall(b"GET / HTTP/1.1\r\nX:" if number & 1 else post("Content-Length: 9", body=b"{"))
        with connection(repository) as wire:
            wire.sendall(SMUGGLED)
            assert wire.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
