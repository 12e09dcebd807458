"""What a list of fields says (RFC 9113, section 8), and what makes it malformed."""

import pytest

from waypost.wire import heads
from waypost.wire.faults import Malformed
from waypost.wire.fields import field

GET = {b":method": b"GET", b":scheme": b"https", b":path": b"/a?b", b":authority": b"edge:443"}


def request(*extra: tuple[bytes, bytes], without: bytes = b"", **changed: bytes) -> heads.Head:
    pseudo = {**GET, **{f":{name}".encode(): value for name, value in changed.items()}}
    pseudo.pop(without, None)
    return heads.request([field(name, value) for name, value in [*pseudo.items(), *extra]])


def malformed(*extra: tuple[bytes, bytes], **changes: bytes) -> str:
    with pytest.raises(Malformed) as caught:
        request(*extra, **changes)
    return str(caught.value)


def test_a_request_says_whom_it_asks_for_what():
    head = request((b"te", b"trailers"), (b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"5"))
    assert (head.method, head.scheme, head.path, head.authority) == (b"GET", b"https", b"/a?b", b"edge:443")
    assert [(name, value) for name, value, _, _ in head.fields][1:3] == [(b"x-a", b"1"), (b"x-a", b"2")]
    assert head.get(b"x-a") == b"2"
    assert head.get(b"x-b") is None
    assert head.length == 5
    assert "GET" in repr(head)


def test_section_8_3_1_host_stands_in_for_a_missing_authority():
    assert request((b"host", b"edge"), without=b":authority").authority == b"edge"
    assert request((b"host", b"EDGE:443")).authority == b"edge:443"
    assert request(without=b":authority").authority == b""
    assert malformed((b"host", b"other")) == "HOST_IS_NOT_AUTHORITY"


@pytest.mark.parametrize("missing", [b":method", b":scheme", b":path"])
def test_section_8_3_1_a_request_needs_its_pseudo_headers(missing):
    assert malformed(without=missing) == f"MISSING_{missing[1:].decode().upper()}"


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ((b"X-Upper", b"1"), "FIELD_INVALID"),
        ((b"x a", b"1"), "FIELD_INVALID"),
        ((b"x:a", b"1"), "FIELD_INVALID"),
        ((b"", b"1"), "FIELD_INVALID"),
        ((b"x-\xff", b"1"), "FIELD_INVALID"),
        ((b":protocol", b"websocket"), "FIELD_INVALID"),
        ((b"x-a", b"a\nb"), "FIELD_INVALID"),
        ((b"x-a", b"a\rb"), "FIELD_INVALID"),
        ((b"x-a", b"a\0b"), "FIELD_INVALID"),
        ((b"x-a", b" a"), "FIELD_INVALID"),
        ((b"x-a", b"a\t"), "FIELD_INVALID"),
        ((b"connection", b"close"), "FIELD_INVALID"),
        ((b"keep-alive", b"1"), "FIELD_INVALID"),
        ((b"proxy-connection", b"1"), "FIELD_INVALID"),
        ((b"transfer-encoding", b"chunked"), "FIELD_INVALID"),
        ((b"upgrade", b"h2c"), "FIELD_INVALID"),
        ((b"te", b"gzip"), "FIELD_INVALID"),
        ((b"content-length", b"-1"), "FIELD_INVALID"),
        ((b"content-length", b"1" * 19), "FIELD_INVALID"),
        ((b":method", b"GET"), "PSEUDO_HEADER_MISPLACED"),
        ((b":authority", b"edge"), "PSEUDO_HEADER_MISPLACED"),
        ((b":status", b"200"), "UNEXPECTED_PSEUDO_HEADER"),
    ],
)
def test_section_8_2_and_8_3_fields_that_make_a_request_malformed(extra, reason):
    assert malformed(extra) == reason


def test_section_8_3_pseudo_headers_come_first():
    fields = [field(b"x-a", b"1"), *(field(name, value) for name, value in GET.items())]
    with pytest.raises(Malformed, match="PSEUDO_HEADER_MISPLACED"):
        heads.request(fields)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"path": b""}, "FIELD_INVALID"),
        ({"path": b"a"}, "FIELD_INVALID"),
        ({"path": b"/a b"}, "FIELD_INVALID"),
        ({"path": b"*"}, "PATH_INVALID"),
        ({"method": b""}, "FIELD_INVALID"),
        ({"method": b"G T"}, "FIELD_INVALID"),
        ({"scheme": b""}, "FIELD_INVALID"),
    ],
)
def test_section_8_3_1_values_of_pseudo_headers(changed, reason):
    assert malformed(**changed) == reason


def test_the_server_as_a_whole_can_be_asked_for_its_options():
    assert request(method=b"OPTIONS", path=b"*").path == b"*"


def test_section_8_5_connect_has_an_authority_only():
    connect = [field(b":method", b"CONNECT"), field(b":authority", b"edge:1")]
    assert heads.request(connect).authority == b"edge:1"
    with pytest.raises(Malformed, match="MISSING_AUTHORITY"):
        heads.request(connect[:1])
    with pytest.raises(Malformed, match="UNEXPECTED_PSEUDO_HEADER"):
        heads.request([*connect, field(b":path", b"/")])


def test_section_8_1_1_content_lengths_must_agree():
    assert request((b"content-length", b"5"), (b"content-length", b"05")).length == 5
    assert malformed((b"content-length", b"5"), (b"content-length", b"6")) == "CONTENT_LENGTHS_DIFFER"


def test_section_8_3_2_a_response_has_a_status_and_nothing_else():
    assert heads.response([field(b":status", b"404"), field(b"content-length", b"3")]).length == 3
    assert "404" in repr(heads.response([field(b":status", b"404")]))
    for fields, reason in (
        ([field(b"x-a", b"1")], "MISSING_STATUS"),
        ([field(b":status", b"200"), field(b":path", b"/")], "UNEXPECTED_PSEUDO_HEADER"),
        ([field(b":status", b"20")], "FIELD_INVALID"),
        ([field(b":status", b"099")], "FIELD_INVALID"),
    ):
        with pytest.raises(Malformed, match=reason):
            heads.response(fields)


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_answers_that_have_no_body_may_name_a_length(status):
    assert heads.response([field(b":status", status), field(b"content-length", b"3")]).length == -1


def test_section_8_1_trailers_have_no_pseudo_headers():
    assert heads.trailers([field(b"grpc-status", b"0")]).get(b"grpc-status") == b"0"
    with pytest.raises(Malformed, match="PSEUDO_HEADER_IN_TRAILERS"):
        heads.trailers([field(b":status", b"200")])
