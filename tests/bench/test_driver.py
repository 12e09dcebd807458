"""The driver against servers that answer as a test wants: it must count what they do, and nothing else."""

import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.bench import build
from tests.bench.load import Driver, DriverFailed, Measured, Shape, Target
from tests.bench.models import IMG, MLP, Model, Sample
from tests.bench.requests import Face
from waypost.api.inference.v1 import inference_pb2 as oip

BRIEF = Shape(in_flight=4, seconds=10.0, warm_up_s=0.0, calls_max=40)
Answer = Callable[[oip.ModelInferRequest, Any], oip.ModelInferResponse]


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return build.driver(build.CACHE)
    except build.CannotBuild as why:
        pytest.skip(str(why))


@pytest.fixture
def driver(binary: Path, tmp_path: Path) -> Driver:
    return Driver(binary, tmp_path, core=None)


def samples(model: Model, count: int = 3) -> list[Sample]:
    """Of a model that answers four times its first four numbers."""
    rows = [np.random.default_rng(seed).random((1, *model.shape), dtype=np.float32) for seed in range(count)]
    return [Sample(x, 4 * x.ravel()[:4]) for x in rows]


def right(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
    y = 4 * np.frombuffer(request.raw_input_contents[0], np.float32)[:4]
    return oip.ModelInferResponse(id=request.id, raw_output_contents=[y.tobytes()])


@contextlib.contextmanager
def grpc_server(answer: Answer, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    handler = grpc.unary_unary_rpc_method_handler(
        answer, oip.ModelInferRequest.FromString, oip.ModelInferResponse.SerializeToString
    )
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        service = "inference.GRPCInferenceService"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ModelInfer": handler}),))
        add = server.add_insecure_port if credentials is None else lambda to: server.add_secure_port(to, credentials)
        port = add("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


def over_grpc(driver: Driver, address: str, shape: Shape = BRIEF, model: Model = MLP, **target: Any) -> Measured:
    return driver.measure(Target(Face.GRPC, address, model.name, **target), samples(model), shape, [])


def test_right_answers_are_counted_and_timed(driver: Driver) -> None:
    with grpc_server(right) as address:
        measured = over_grpc(driver, address)
    assert measured.clean
    assert measured.right == measured.in_time == 40
    assert 0 < measured.p50_us <= measured.p99_us <= measured.max_us


def test_typed_contents_are_read_as_well(driver: Driver) -> None:
    def typed(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        y = 4 * np.frombuffer(request.raw_input_contents[0], np.float32)[:4]
        return oip.ModelInferResponse(
            outputs=[oip.InferOutputTensor(contents=oip.InferTensorContents(fp32_contents=y.tolist()))]
        )

    with grpc_server(typed) as address:
        assert over_grpc(driver, address).clean


def test_a_request_larger_than_all_windows_arrives_whole(driver: Driver) -> None:
    with grpc_server(right) as address:
        assert over_grpc(driver, address, model=IMG).clean


def test_an_answer_to_another_call_is_a_wrong_answer(driver: Driver) -> None:
    first: list[oip.ModelInferResponse] = []

    def same_for_all(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        first.append(right(request, context))
        return first[0]

    with grpc_server(same_for_all) as address:
        measured = over_grpc(driver, address)
    assert not measured.clean
    assert 0 < measured.wrong < 40
    assert measured.wrong + measured.right == 40


def test_refusals_are_counted_by_their_status(driver: Driver) -> None:
    def sometimes(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        if request.id == "call-1":
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return right(request, context)

    with grpc_server(sometimes) as address:
        measured = over_grpc(driver, address)
    assert set(measured.failures) == {"UNAVAILABLE"}
    assert measured.right + measured.failures["UNAVAILABLE"] == 40
    assert "busy" in measured.first_failure


def test_a_call_that_is_not_answered_in_time_is_given_up(driver: Driver) -> None:
    done = threading.Event()

    def hang(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        assert 0 < context.time_remaining() <= 0.1
        context.add_callback(done.set)
        done.wait()
        return right(request, context)

    shape = Shape(in_flight=1, seconds=10.0, warm_up_s=0.0, timeout_ms=100, calls_max=1)
    with grpc_server(hang) as address:
        measured = over_grpc(driver, address, shape)
    assert measured.failures == {"GIVEN_UP": 1}
    assert done.is_set()  # the server has heard that nobody waits any more


def test_metadata_goes_with_every_call(driver: Driver) -> None:
    def guarded(request: oip.ModelInferRequest, context: Any) -> oip.ModelInferResponse:
        if ("authorization", "Bearer secret") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return right(request, context)

    with grpc_server(guarded) as address:
        assert over_grpc(driver, address, headers={"authorization": "Bearer secret"}).clean
        assert set(over_grpc(driver, address).failures) == {"UNAUTHENTICATED"}


def test_an_open_loop_sends_what_is_due(driver: Driver) -> None:
    with grpc_server(right) as address:
        measured = over_grpc(driver, address, Shape(rate=200.0, seconds=0.5, warm_up_s=0.0))
    assert measured.clean
    assert measured.due == measured.right
    assert 60 < measured.due < 140  # a hundred expected; the distances are random, the same in each run


def test_nobody_there_is_a_failure(driver: Driver) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(DriverFailed, match="cannot connect"):
            over_grpc(driver, f"127.0.0.1:{taken.getsockname()[1]}")


def test_other_machines_are_no_targets(driver: Driver) -> None:
    with pytest.raises(DriverFailed, match=r"only 127\.0\.0\.1"):
        over_grpc(driver, "192.0.2.1:80")


# Header blocks of RFC 7541: strings in Huffman code, entries of the table referred to later, literals that are not
# entered, a repeated block of indices only. Each pair is an answer's head and trailers.
COMPRESSED = (
    ("885f8b1d75d0620d263d4c4d6564", "40889acac8b21234da8f820b5f40899acac8b5254207317f888ed47a5440a8fe3f"),
    ("88c0", "7f0081077681f3"),
)


def test_compressed_headers_are_read_whatever_form_they_have(driver: Driver) -> None:
    """The first call is refused with 14, the second is answered."""
    reply = right(oip.ModelInferRequest(raw_input_contents=[samples(MLP)[1].x.tobytes()]), None).SerializeToString()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            stream.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            connection.sendall(_frame(4, 0, 0, b""))
            for number, (head, trailers) in enumerate(COMPRESSED):
                call = _next_call(stream)
                answer = _frame(0, 0, call, b"\0" + len(reply).to_bytes(4, "big") + reply) if number else b""
                connection.sendall(
                    _frame(1, 4, call, bytes.fromhex(head)) + answer + _frame(1, 5, call, bytes.fromhex(trailers))
                )
            stream.read()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        served = thread.submit(lambda: serve(listener.accept()[0]))
        shape = Shape(in_flight=1, seconds=10.0, warm_up_s=0.0, calls_max=2)
        measured = over_grpc(driver, f"127.0.0.1:{listener.getsockname()[1]}", shape)
        served.result()
    assert measured.failures == {"UNAVAILABLE": 1}
    assert measured.first_failure == "UNAVAILABLE: busy%20now"
    assert measured.right == 1


def _frame(type_: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((type_, flags)) + stream.to_bytes(4, "big") + payload


def _next_call(stream: Any) -> int:
    """The id of the next stream whose request has ended."""
    while True:
        head = stream.read(9)
        stream.read(int.from_bytes(head[:3], "big"))
        if head[3] == 0 and head[4] & 1:
            return int.from_bytes(head[5:], "big")


class JsonServer(BaseHTTPRequestHandler):
    """Answers rightly, now with a length, now in chunks; every fifth request is one too many."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).asked += 1
        if type(self).asked % 5 == 0:
            self._send(503, b'{"error": "full"}', chunked=False)
            return
        numbers = [4 * float(each) for each in body.split(b'"data": [')[1].split(b"]")[0].split(b",")[:4]]
        self._send(200, b'{"outputs": [{"data": [%s]}]}' % str(numbers).encode(), chunked=type(self).asked % 2 == 0)

    def _send(self, status: int, body: bytes, *, chunked: bool) -> None:
        self.send_response(status)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"5\r\n" + body[:5] + b"\r\n" + b"%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None: ...


@contextlib.contextmanager
def http_server(context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Counted", (JsonServer,), {}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with ThreadPoolExecutor(1) as thread:
        serving = thread.submit(server.serve_forever, 0.01)
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.result()
            server.server_close()


def test_http_answers_are_read_with_lengths_and_in_chunks(driver: Driver) -> None:
    with http_server() as address:
        target = Target(Face.JSON, address, MLP.name, "/v2/models/mlp/infer")
        measured = driver.measure(target, samples(MLP), BRIEF, [])
    assert measured.failures == {"HTTP_503": 8}
    assert measured.right == 32
    assert measured.first_failure == 'HTTP_503: {"error": "full"}'


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For localhost, signed by itself: certificate and key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.fromtimestamp(0, datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_tls_is_spoken_on_both_protocols(driver: Driver, certificate: tuple[Path, Path]) -> None:
    if not build.tls_headers():
        pytest.skip("the driver was built without OpenSSL's headers")
    path, key = certificate
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), path.read_bytes())])
    with grpc_server(right, credentials) as address:
        assert over_grpc(driver, address, ca_file=str(path)).clean
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, key)
    with http_server(context) as address:
        target = Target(Face.JSON, address, MLP.name, "/", ca_file=str(path))
        assert driver.measure(target, samples(MLP), BRIEF, []).right == 32
