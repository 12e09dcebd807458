"""The HTTP parser: the same requests for every cut of the same bytes, and no doubt about where a request ends."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.transport.http1_core import (
    HEAD_BYTES_MAX,
    HEADS_REMEMBERED_MAX,
    Parser,
    Renderer,
    Request,
    Response,
)
from inference_host.transport.http1_head import HEADERS_MAX, Headers, Refusal
from inference_host.transport.message_buffer import LARGE_BYTES

BODY_MAX = 1 << 10

PIPELINE = (
    b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\nContent-Length: 5\r\nX-A: 1\r\nx-a:2\r\n\r\nhello"
    b"\r\n"
    b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: t\r\n\r\n"
    b"POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n"
)
REQUESTS = [
    Request("GET", "/v2/health/live", Headers({"host": "a"})),
    Request("POST", "/v2/models/m/infer", Headers({"host": "a", "content-length": "5", "x-a": "1, 2"}), b"hello"),
    Request("POST", "/c", Headers({"host": "a", "transfer-encoding": "chunked"}), b"abc0123456789"),
    Request("POST", "/e", Headers({"host": "a", "content-length": "0", "connection": "Close"}), b"", keep_alive=False),
]


def requests_of(pieces: list[bytes]) -> list[Request]:
    parser = Parser(BODY_MAX)
    found: list[Request] = []
    for piece in pieces:
        parser.feed(piece)
        while (request := parser.next()) is not None:
            found.append(request)
    return found


def refusal(data: bytes) -> Refusal:
    with pytest.raises(Refusal) as refused:
        requests_of([data])
    return refused.value


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize("cut", range(1, len(PIPELINE)))
def test_one_cut_anywhere_changes_nothing(cut: int) -> None:
    assert requests_of([PIPELINE[:cut], PIPELINE[cut:]]) == REQUESTS


def test_bytes_may_come_one_by_one() -> None:
    assert requests_of([PIPELINE[i : i + 1] for i in range(len(PIPELINE))]) == REQUESTS


@given(st.lists(st.integers(1, len(PIPELINE) - 1), max_size=20))
def test_any_cuts_change_nothing(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(PIPELINE)]
    assert requests_of([PIPELINE[a:b] for a, b in pairwise(places)]) == REQUESTS


@given(st.binary(max_size=BODY_MAX), st.lists(st.integers(1, 64), min_size=1))
def test_a_chunked_body_is_the_sum_of_its_chunks(body: bytes, sizes: list[int]) -> None:
    chunks, rest = b"", body
    for size in [*sizes, BODY_MAX]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            chunks += b"%x\r\n%b\r\n" % (len(piece), piece)
    (request,) = requests_of([head("Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"])
    assert request.body == body


@given(st.binary(max_size=200))
def test_any_bytes_are_requests_or_refused(data: bytes) -> None:
    with suppress(Refusal):
        requests_of([data])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 400),  # bare line feeds
        (head("Content-Length: 1", "Content-Length: 1"), 400),
        (head("Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (head("Content-Length: -1"), 400),
        (head("Content-Length: 1_0"), 400),
        (head("Content-Length: \u00b2"), 400),
        (head("Transfer-Encoding: gzip"), 501),
        (head("Transfer-Encoding: chunked, chunked"), 501),
        (head("Expect: a miracle"), 417),
        (head("X : 1"), 400),
        (head(" folded"), 400),
        (head("X: a\x00b"), 400),
        (head(f"Content-Length: {BODY_MAX + 1}"), 413),
        (head("Transfer-Encoding: chunked") + b"%x\r\n" % (BODY_MAX + 1), 413),
        (head("Transfer-Encoding: chunked") + b"-1\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"1\r\nab\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"1;\nx\r\na\r\n", 400),  # a proxy may see a line end there
        (head("Transfer-Encoding: chunked") + b"1;\0\r\na\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"0\r\nt: t\n\nGET /\r\n\r\n", 400),  # or the end of the trailers
        (head("Transfer-Encoding: chunked") + b"0\r\nno trailer\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"0" * 300, 400),
        (head("Transfer-Encoding: chunked") + b"0\r\n" + b"t: t\r\n" * 1000, 400),
        (head(*["X: 1"] * HEADERS_MAX), 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, 431),
    ],
)
def test_what_is_no_request_is_refused_with_a_status(data: bytes, status: int) -> None:
    refused = refusal(data)
    assert refused.status == status
    assert refused.message


def test_a_body_in_chunks_is_bounded_as_a_whole() -> None:
    chunk = b"100\r\n" + b"x" * 256 + b"\r\n"
    assert refusal(head("Transfer-Encoding: chunked") + chunk * 5).status == 413


def test_a_client_that_waits_for_a_go_ahead_is_noticed_once() -> None:
    parser = Parser(BODY_MAX)
    parser.feed(head("Content-Length: 2", "Expect: 100-continue"))
    assert parser.next() is None
    assert parser.awaits_continue
    parser.feed(b"o")
    assert parser.next() is None
    assert not parser.awaits_continue
    parser.feed(b"k")
    assert parser.next() == Request(
        "POST", "/", Headers({"host": "a", "content-length": "2", "expect": "100-continue"}), b"ok"
    )


def test_a_client_that_waits_with_nothing_to_send_needs_no_go_ahead() -> None:
    parser = Parser(BODY_MAX)
    parser.feed(head("Content-Length: 0", "Expect: 100-continue"))
    assert parser.next() is not None
    assert not parser.awaits_continue


def test_http_1_0_closes_after_its_answer() -> None:
    (request,) = requests_of([b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"])
    assert not request.keep_alive


def test_equal_heads_are_parsed_once_and_their_number_is_bounded() -> None:
    parser = Parser(BODY_MAX)
    heads = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(HEADS_REMEMBERED_MAX + 1)]
    parser.feed(heads[0] + heads[0])
    first, second = parser.next(), parser.next()
    assert first is not None
    assert second is not None
    assert first.headers is second.headers
    parser.feed(b"".join(heads[1:]) + heads[0])
    others = [parser.next() for _ in heads]
    assert others[-1] == first
    assert others[-1] is not None
    assert others[-1].headers is not first.headers


@given(st.integers(LARGE_BYTES - 2, LARGE_BYTES + 2), st.lists(st.integers(1, LARGE_BYTES), max_size=5))
def test_a_large_body_is_the_same_for_every_cut(size: int, cuts: list[int]) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    data = head(f"Content-Length: {size}") + body + PIPELINE
    parser, found = Parser(LARGE_BYTES * 2), []
    places = sorted({0, len(data), *cuts})
    for start, end in pairwise(places):
        parser.feed(data[start:end])
        while (request := parser.next()) is not None:
            found.append(request)
    assert bytes(found[0].body) == body
    assert found[1:] == REQUESTS


def rendered(response: Response, *, keep: bool = True, renderer: Renderer | None = None) -> bytes:
    return (renderer or Renderer()).head(response, sum(map(len, response.body)), date="D", keep=keep)


def test_a_response_says_what_it_is_and_how_long() -> None:
    response = Response(200, [b"ab", b"c"], [("x-a", "1")])
    assert rendered(response) == (
        b"HTTP/1.1 200 OK\r\ndate: D\r\ncontent-type: application/json\r\nx-a: 1\r\ncontent-length: 3\r\n\r\n"
    )
    assert b"connection: close\r\n" in rendered(response, keep=False)
    assert rendered(Response(799)).startswith(b"HTTP/1.1 799 Status\r\n")
    assert rendered(Response(200, timing="queue;dur=0.1")).endswith(b"\r\nserver-timing: queue;dur=0.1\r\n\r\n")


HEADERS: list[list[tuple[str, str]]] = [[], [("x-a", "1")], [("x-a", "2"), ("x-b", "")]]
RESPONSES = st.builds(
    Response,
    st.sampled_from([200, 404]),
    st.lists(st.binary(max_size=3), max_size=2),
    st.sampled_from(HEADERS),
    st.sampled_from(["application/json", "text/plain"]),
    st.sampled_from(["", "total;dur=1"]),
)


@given(st.lists(st.tuples(RESPONSES, st.booleans()), min_size=2, max_size=8))
def test_what_was_written_before_changes_nothing(responses: list[tuple[Response, bool]]) -> None:
    renderer = Renderer()
    for response, keep in responses:
        assert rendered(response, keep=keep, renderer=renderer) == rendered(response, keep=keep)


@given(st.text(max_size=20))
def test_no_value_can_make_a_header_of_its_own(value: str) -> None:
    lines = rendered(Response(200, (), [("name", value)])).split(b"\r\n")
    assert len(lines) == 7
    assert lines[3].startswith(b"name: ")
    assert lines[3].isascii()
    assert b"\n" not in lines[3]


LINES = st.sampled_from([b"POST /a HTTP/1.1", b"GET /b HTTP/1.1"])
LENGTHS = st.sampled_from([b"content-length: 3", b"content-length: 0", b"transfer-encoding: chunked", b"x: y"])
BODIES = st.sampled_from([b"", b"abc", b"abcd", b"3\r\nabc\r\n0\r\n\r\n"])
READS = st.tuples(LINES, st.just(b"host: a"), LENGTHS, st.just(b""), BODIES).map(b"\r\n".join)


def _next(parser: Parser) -> Request | str | None:
    try:
        return parser.next()
    except Refusal as refused:
        return refused.message


@given(st.lists(READS | READS.map(lambda read: read[: len(read) // 2]), max_size=8))
def test_a_request_taken_as_a_whole_is_what_would_have_been_read(reads: list[bytes]) -> None:
    """The parser that never takes one as a whole agrees, request by request and in what is left over."""
    short, long = Parser(BODY_MAX), Parser(BODY_MAX)
    for read in reads:
        request = short.whole(read)
        long.feed(read)
        if request is not None:
            assert long.next() == request
        else:
            short.feed(read)
            taken = [_next(parser) for parser in (short, long)]
            assert taken[0] == taken[1]
            if isinstance(taken[0], str):
                return
        assert (short.idle, short.buffered_bytes) == (long.idle, long.buffered_bytes)
