"""gRPC over HTTP/2: what a call's heads and trailers say (PROTOCOL-HTTP2)."""

import grpc as grpcio
import pytest

from tests.unit.sdk.wire.peers import client, data, fields, headers, server
from waypost.wire import ErrorCode, Request, heads
from waypost.wire.fields import field
from waypost.wire.grpc import (
    ANSWER,
    NOT_GRPC,
    NOT_POST,
    OK,
    encoding_of,
    outcome,
    refusal,
    request_head,
)
from waypost.wire.hpack import Decoder
from waypost.wire.messages import pack
from waypost.wire.status import Status, status_of_http, status_of_reset

CALL = request_head("/a.B/C", "edge:443", ((b"x-tower", b"7"),))


def judged(pairs) -> heads.Head:
    return heads.request([field(name, value) for name, value in pairs])


def answered(*pairs: tuple[bytes, bytes], http: bytes | None = None) -> heads.Head:
    if http is None:
        return heads.trailers([field(name, value) for name, value in pairs])
    return heads.response([field(name, value) for name, value in ((b":status", http), *pairs)])


def read(block) -> list[tuple[bytes, bytes]]:
    return [(entry.name, entry.value) for entry in Decoder().decode(block.data, 1 << 20)]


def test_a_unary_call_and_its_answer():
    bench = server()
    (event,) = bench.hear(headers(1, CALL, end=False), data(1, b"\0\0\0\0\x02hi", end=True))
    assert isinstance(event, Request)
    assert refusal(event.head) is None
    bench.connection.reply(event.stream, ANSWER, pack(b"hello"), OK)
    head, body, end = bench.collect()
    assert fields(head) == [(b":status", b"200"), (b"content-type", b"application/grpc")] == read(ANSWER)
    assert bytes(body.data) == b"\0\0\0\0\x05hello"
    assert fields(end) == [(b"grpc-status", b"0")] == read(OK)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ((b"content-type", b"application/grpc"), None),
        ((b"content-type", b"application/grpc+proto"), None),
        ((b"content-type", b"application/grpc;charset=utf-8"), None),
        ((b"content-type", b"application/grpc-web"), NOT_GRPC),
        ((b"content-type", b"application/json"), NOT_GRPC),
        ((b"x-a", b"1"), NOT_GRPC),
    ],
)
def test_what_is_no_grpc_call_is_refused_in_http(changed, expected):
    pairs = [*(pair for pair in CALL if pair[0] != b"content-type"), changed]
    assert refusal(judged(pairs)) is expected


def test_a_call_is_a_post():
    assert refusal(judged([(b":method", b"GET"), *CALL[1:]])) is NOT_POST


def test_the_encoding_of_messages_is_identity_unless_it_says_otherwise():
    assert encoding_of(judged(CALL)) == b"identity"
    assert encoding_of(judged([*CALL, (b"grpc-encoding", b"gzip")])) == b"gzip"


def test_a_client_says_what_the_protocol_wants():
    bench = client()
    bench.connection.request(CALL, (b"x",))
    head, _ = bench.collect()
    assert fields(head) == [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/a.B/C"),
        (b":authority", b"edge:443"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-accept-encoding", b"identity,gzip"),
        (b"x-tower", b"7"),
    ]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (answered((b"grpc-status", b"0")), (Status.OK, "")),
        (answered((b"grpc-status", b"14"), (b"grpc-message", b"gone%21")), (Status.UNAVAILABLE, "gone!")),
        (answered((b"grpc-status", b"5"), http=b"200"), (Status.NOT_FOUND, "")),
        (answered((b"grpc-status", b"99"), (b"grpc-message", b"what")), (Status.UNKNOWN, "what")),
        (answered((b"grpc-status", b"x")), (Status.UNKNOWN, "grpc-status is b'x'")),
        (answered(), (Status.UNKNOWN, "the answer has no grpc-status")),
        (answered(http=b"200"), (Status.UNKNOWN, "the answer has no grpc-status")),
        (answered(http=b"503"), (Status.UNAVAILABLE, "HTTP status 503")),
        (answered((b"grpc-status", b"7"), http=b"403"), (Status.PERMISSION_DENIED, "")),
    ],
)
def test_how_a_call_ended(head, expected):
    assert outcome(head) == expected


def test_the_statuses_are_grpcs():
    assert {status.name: status.value for status in Status} == {code.name: code.value[0] for code in grpcio.StatusCode}


@pytest.mark.parametrize(
    ("http", "status"),
    [
        (400, Status.INTERNAL),
        (401, Status.UNAUTHENTICATED),
        (403, Status.PERMISSION_DENIED),
        (404, Status.UNIMPLEMENTED),
        (429, Status.UNAVAILABLE),
        (502, Status.UNAVAILABLE),
        (503, Status.UNAVAILABLE),
        (504, Status.UNAVAILABLE),
        (418, Status.UNKNOWN),
    ],
)
def test_http_statuses_in_grpc(http, status):
    assert status_of_http(http) is status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.NO_ERROR, Status.INTERNAL),
        (ErrorCode.REFUSED_STREAM, Status.UNAVAILABLE),
        (ErrorCode.CANCEL, Status.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, Status.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, Status.PERMISSION_DENIED),
        (ErrorCode.STREAM_CLOSED, Status.UNKNOWN),
        (0xBEEF, Status.UNKNOWN),
    ],
)
def test_resets_in_grpc(code, status):
    assert status_of_reset(code) is status
