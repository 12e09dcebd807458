"""HTTP as bytes on a socket: keep-alive, pipelining, chunks, go-aheads, and what is refused."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from tests.conformance.hosts import RunningHost

VALUES = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
BODY = json.dumps(VALUES).encode()
INFER = "/v2/models/affine/infer"


@pytest.fixture
def client(repository: RunningHost) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(repository.address, timeout=10)
    yield connection
    connection.close()


@pytest.fixture
def wire(repository: RunningHost) -> Iterator[socket.socket]:
    host, _, port = repository.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        yield connection


def ask(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, object]:
    client.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = client.getresponse()
    content = response.read()
    return response.status, json.loads(content) if content else None


def post(*headers: str, body: bytes = b"", path: str = INFER) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", *headers, "", ""]).encode() + body


def read_answers(wire: socket.socket, count: int) -> list[http.client.HTTPResponse]:
    """The bodies are read, too."""
    answers = []
    with wire.makefile("rb") as reader:
        for _ in range(count):
            answer = http.client.HTTPResponse(_Fixed(reader))  # type: ignore[arg-type]
            answer.begin()
            answer.content = answer.read()  # type: ignore[attr-defined]
            answers.append(answer)
    return answers


class _Fixed:
    """A socket's reading half that survives one answer's end."""

    def __init__(self, reader: object) -> None:
        self._reader = reader

    def makefile(self, mode: str) -> "_Fixed":
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    def close(self) -> None: ...

    def flush(self) -> None: ...


def test_one_connection_takes_many_calls(client: http.client.HTTPConnection) -> None:
    for _ in range(3):
        status, answer = ask(client, "POST", INFER, BODY)
        assert status == 200
        assert answer["outputs"][0]["data"] == [3, 5, 7, 9]
    assert client.sock is not None


def test_pipelined_calls_are_answered_in_their_order(wire: socket.socket) -> None:
    bodies = [BODY.replace(b"[1, 2", b"[%d, 2" % number) for number in range(20)]
    wire.sendall(b"".join(post(f"Content-Length: {len(body)}", body=body) for body in bodies))
    answers = read_answers(wire, 20)
    assert [json.loads(answer.content)["outputs"][0]["data"][0] for answer in answers] == [2 * n + 1 for n in range(20)]


def test_a_body_may_come_in_chunks(wire: socket.socket) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (BODY[:10], BODY[10:11], BODY[11:]))
    wire.sendall(post("Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n"))
    assert read_answers(wire, 1)[0].status == 200


def test_a_client_that_waits_for_a_go_ahead_gets_it(wire: socket.socket) -> None:
    wire.sendall(post(f"Content-Length: {len(BODY)}", "Expect: 100-continue"))
    assert wire.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(BODY)
    assert read_answers(wire, 1)[0].status == 200


def test_a_body_that_would_be_too_large_is_refused_before_it_comes(wire: socket.socket) -> None:
    wire.sendall(post(f"Content-Length: {1 << 40}", "Expect: 100-continue"))
    (answer,) = read_answers(wire, 1)
    assert (answer.status, answer.getheader("connection")) == (413, "close")
    assert "error" in json.loads(answer.content)
    assert wire.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00", 400),
        (post("Content-Length: 1", "Content-Length: 2"), 400),
        (post("X: " + "x" * 40_000), 431),
    ],
)
def test_what_is_no_request_gets_an_answer_and_the_connection_ends(
    wire: socket.socket, sent: bytes, status: int
) -> None:
    wire.sendall(sent)
    (answer,) = read_answers(wire, 1)
    assert answer.status == status
    assert json.loads(answer.content)["error"]


def test_a_client_may_end_the_connection_with_its_call(wire: socket.socket) -> None:
    wire.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    (answer,) = read_answers(wire, 1)
    assert (answer.status, answer.getheader("connection")) == (200, "close")
    assert wire.recv(1) == b""


def test_head_is_get_without_a_body(client: http.client.HTTPConnection) -> None:
    client.request("HEAD", "/v2/health/live")
    response = client.getresponse()
    assert (response.status, response.getheader("content-length"), response.read()) == (200, "13", b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/nonsense", 404),
        ("GET", "/v2/models/affine/versions", 404),
        ("GET", "/v2/models/nowhere/config", 404),
        ("GET", "/v2/models/nowhere", 404),
        ("GET", "/v2/models/affine/versions/9", 404),
        ("GET", "/v2/models/nowhere/ready", 404),
        ("POST", "/v2/models/nowhere/infer", 404),
        ("GET", "/v2/models/affine/infer", 405),
        ("POST", "/v2/health/live", 405),
        ("DELETE", "/v2/models/affine", 405),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/v2/repository/models/nowhere/load", 404),
        ("POST", "/v2/models/affine/infer", 400),
    ],
)
def test_mistakes_have_exact_codes(client: http.client.HTTPConnection, method: str, path: str, status: int) -> None:
    body = BODY if path.endswith("nowhere/infer") else None
    found, answer = ask(client, method, path, body)
    assert found == status
    assert set(answer) <= {"error", "reason", "hint"}
    assert answer["error"]


def test_a_wrong_method_names_the_right_one(client: http.client.HTTPConnection) -> None:
    client.request("GET", INFER)
    response = client.getresponse()
    response.read()
    assert response.getheader("allow") == "POST"


def test_health_has_the_bodies_that_clients_read(client: http.client.HTTPConnection) -> None:
    assert ask(client, "GET", "/v2/health/live") == (200, {"live": True})
    assert ask(client, "GET", "/v2/health/ready") == (200, {"ready": True})
    assert ask(client, "GET", "/v2/models/affine/ready") == (200, {"name": "affine", "ready": True})
    assert ask(client, "GET", "/v2/models/affine/versions/1/ready") == (200, {"name": "affine", "ready": True})
    assert "affine" in ask(client, "GET", "/v2/models")[1]["models"]


def test_who_answered_stands_in_the_headers(client: http.client.HTTPConnection) -> None:
    client.request("POST", INFER, BODY)
    response = client.getresponse()
    response.read()
    assert response.getheader("waypost-model-version") == "affine/1"
    assert response.getheader("waypost-model-digest", "").startswith("sha256:")


def test_a_raw_binary_request_is_the_only_input(client: http.client.HTTPConnection) -> None:
    client.request("POST", INFER, np.ones(8, np.float32).tobytes(), {"Inference-Header-Content-Length": "0"})
    response = client.getresponse()
    content = response.read()
    length = int(response.getheader("inference-header-content-length"))
    assert response.getheader("content-type") == "application/octet-stream"
    assert json.loads(content[:length])["outputs"][0]["shape"] == [2, 4]
    assert np.frombuffer(content[length:], np.float32).tolist() == [3.0] * 8


def test_small_answers_are_not_compressed(client: http.client.HTTPConnection) -> None:
    client.request("POST", INFER, gzip.compress(BODY), {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    response = client.getresponse()
    assert response.getheader("content-encoding") is None
    assert json.loads(response.read())["outputs"][0]["data"] == [3, 5, 7, 9]


@pytest.mark.parametrize("headers", [{"waypost-timeout-ms": "20"}, {}])
def test_a_call_may_carry_its_timeout(client: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    message = {"name": "x", "datatype": "FP32", "shape": [8, 256, 256], "parameters": {"binary_data_size": 8 << 18}}
    parameters = {} if headers else {"timeout": 20_000}
    head = json.dumps({"inputs": [message], "parameters": parameters}).encode()
    client.request(
        "POST",
        "/v2/models/slow/infer",
        head + bytes(8 << 18),
        {"Inference-Header-Content-Length": str(len(head)), **headers},
    )
    response = client.getresponse()
    answered = response.status, json.loads(response.read())["reason"]
    assert answered in {(503, "OVERLOADED"), (504, "TOO_LATE")}  # refused on arrival, or not in time after all


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "²"])
def test_a_timeout_is_a_whole_number(client: http.client.HTTPConnection, value: str) -> None:
    client.request("POST", INFER, BODY, {"waypost-timeout-ms": value.encode("latin-1")})
    response = client.getresponse()
    assert (response.status, json.loads(response.read())["reason"]) == (400, "BAD_HEADER")
