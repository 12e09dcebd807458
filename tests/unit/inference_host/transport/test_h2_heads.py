"""Header blocks of gRPC: what is asked for, and that what we answer decodes to what was meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.transport.h2_heads import Reader, Tails, failure
from inference_host.transport.methods import Caller, Method, Reply, Streaming, Unary
from waypost.errors import Exhausted, Invalid, MeshError, Unsupported
from waypost.rpc import from_status
from waypost.wire import Block, Head
from waypost.wire.fields import field
from waypost.wire.frames import encoded
from waypost.wire.hpack import Decoder
from waypost.wire.metadata import decode_binary, unquote_message

BASE = {b":method": b"POST", b":path": b"/a.B/Unary", b"content-type": b"application/grpc", b"te": b"trailers"}
NAMES = st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True).filter(lambda name: not name.endswith("-bin"))
TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=300)


def begin(body: bytes | memoryview, caller: Caller, reply: Reply) -> None: ...


async def run(requests: object, caller: Caller):  # type: ignore[no-untyped-def]
    yield b""


METHODS = [
    Method("/a.B/Unary", Unary(begin), quiet=True),
    Method("/a.B/Open", Unary(begin), open=True),
    Method("/a.B/Stream", Streaming(run), quiet=True),
]
READER = Reader(METHODS, log_all=False)


def head(**fields: bytes) -> Head:
    """Underscores are hyphens; path and method are the pseudo-header fields."""
    pairs = BASE | {name.replace("_", "-").encode(): value for name, value in fields.items()}
    made = Head([field(name, value) for name, value in pairs.items() if not name.startswith(b":")])
    made.method, made.path = pairs[b":method"], pairs[b":path"]
    return made


def decoded(block: Block | bytes) -> list[tuple[bytes, bytes]]:
    fields = Decoder().decode(encoded(block), 1 << 20)
    assert fields is not None
    return [(each.name, each.value) for each in fields]


def with_path(path: bytes) -> Head:
    made = head()
    made.path = path
    return made


def test_a_method_is_found_and_the_finding_kept() -> None:
    asked = head()
    ask = READER.read(asked)
    assert asked.note is ask
    assert (ask.begin, ask.streaming, ask.open, ask.told) == (begin, None, False, False)
    opened = READER.read(with_path(b"/a.B/Open"))
    assert (opened.open, opened.told) == (True, True)
    streaming = READER.read(with_path(b"/a.B/Stream"))
    assert streaming.begin is None
    assert streaming.streaming is not None


def test_where_everything_is_logged_quiet_methods_are_too() -> None:
    assert Reader(METHODS, log_all=True).read(head()).told


def test_an_unknown_method_is_refused() -> None:
    assert isinstance(READER.read(with_path(b"/a.B/None")).refusal, Unsupported)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"grpc_timeout": b"5x"}, "BAD_TIMEOUT"),
        ({"grpc_timeout": b"123456789S"}, "BAD_TIMEOUT"),
        ({"grpc_encoding": b"br"}, "UNKNOWN_ENCODING"),
        ({"key_bin": b"?"}, "BAD_METADATA"),
    ],
)
def test_what_cannot_be_read_is_refused(fields: dict[str, bytes], reason: str) -> None:
    refusal = READER.read(head(**fields)).refusal
    assert isinstance(refusal, MeshError)
    assert refusal.reason == reason


def test_timeout_coding_and_metadata_are_read() -> None:
    ask = READER.read(head(grpc_timeout=b"1500m", grpc_encoding=b"gzip", authorization=b"Bearer x", key=b"v"))
    assert (ask.timeout_s, ask.coding, ask.authorization) == (1.5, "gzip", "Bearer x")
    assert ask.metadata == {"authorization": "Bearer x", "key": "v"}


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=6), st.lists(TEXTS, min_size=1, max_size=3))
def test_trailers_decode_to_what_was_meant_the_first_time_and_every_other(
    facts: list[tuple[str, str]], timings: list[str]
) -> None:
    tails = Tails()
    expected = [(b"grpc-status", b"0"), *((name.encode(), value.encode()) for name, value in facts)]
    for timing in timings:
        told = [(b"server-timing", timing.encode())] if timing else []
        assert decoded(tails.block(facts, timing)) == [*expected, *told]
        assert decoded(tails.block((), timing)) == [(b"grpc-status", b"0"), *told]


def test_a_name_that_is_no_ascii_is_quoted() -> None:
    pairs = decoded(Tails().block([("model", "modèle\n 1 ")]))
    assert pairs[1] == (b"model", b"mod%C3%A8le%0A 1")


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_an_error_keeps_its_reason_and_never_outgrows_what_clients_take(message: str, hint: str) -> None:
    pairs = dict(decoded(failure(Exhausted("FULL", message, hint, limit="1"))))
    assert sum(len(name) + len(value) + 32 for name, value in pairs.items()) < 8 << 10
    assert pairs[b"grpc-status"] == b"8"
    assert message.encode(errors="replace").decode().startswith(unquote_message(pairs[b"grpc-message"]))


def test_an_error_comes_back_as_what_it_was() -> None:
    from google.rpc import status_pb2

    error = Invalid("WRONG", "wrong: é", "right it", field="x")
    pairs = dict(decoded(failure(error)))
    back = from_status(status_pb2.Status.FromString(decode_binary(pairs[b"grpc-status-details-bin"])))
    assert (type(back), back.reason, back.message, back.hint, back.metadata) == (
        Invalid,
        "WRONG",
        "wrong: é",
        "right it",
        {"field": "x"},
    )


def test_behind_messages_an_error_is_trailers_only_in_name() -> None:
    pairs = decoded(failure(Invalid("WRONG", "wrong"), head_sent=True))
    assert b":status" not in dict(pairs)
