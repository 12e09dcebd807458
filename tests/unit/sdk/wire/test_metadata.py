"""Deadlines, status messages and binary metadata, as gRPC writes them into fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.wire import heads
from waypost.wire.fields import field
from waypost.wire.metadata import (
    decode_binary,
    decode_metadata,
    encode_binary,
    encode_metadata,
    format_timeout,
    parse_timeout,
    quote_message,
    unquote_message,
)

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)).map(str.strip)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"100m", 0.1),
        (b"5u", 5e-6),
        (b"7n", 7e-9),
        (b"0n", 0.0),
        (b"99999999H", 99999999 * 3600.0),
    ],
)
def test_a_timeout_is_a_number_and_a_unit(value, seconds):
    assert parse_timeout(value) == seconds


@pytest.mark.parametrize("value", [b"", b"1", b"S", b"1s", b"-1S", b"1.5S", b"123456789n", b"1SS", "1²S".encode()])
def test_anything_else_is_none(value):
    with pytest.raises(ValueError, match="grpc-timeout"):
        parse_timeout(value)


@given(st.floats(1e-9, 1e8))
def test_timeouts_come_back_and_never_shorter(seconds):
    back = parse_timeout(format_timeout(seconds))
    assert seconds - 1e-9 <= back <= seconds * (1 + 1e-5) + 1e-9


def test_timeouts_at_their_ends():
    assert format_timeout(-1) == format_timeout(0) == b"0n"
    assert format_timeout(float("inf")) == format_timeout(1e300) == b"99999999H"
    assert format_timeout(0.05) == b"50000000n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_status_messages_come_back(message):
    quoted = quote_message(message)
    assert unquote_message(quoted) == message
    assert all(0x20 <= byte <= 0x7E for byte in quoted)


def test_status_messages_stay_readable():
    assert quote_message("no room (2 of 3): wait, please?") == b"no room (2 of 3): wait, please?"
    assert quote_message("a\nb \N{DEGREE SIGN}C 5%") == b"a%0Ab %C2%B0C 5%25"


@given(st.binary())
def test_any_status_message_can_be_read(value):
    assert isinstance(unquote_message(value), str)


@given(st.binary())
def test_binary_values_come_back_with_and_without_padding(value):
    coded = encode_binary(value)
    assert not coded.endswith(b"=")
    assert decode_binary(coded) == value
    assert decode_binary(coded + b"=" * (-len(coded) % 4)) == value


@given(
    st.lists(
        st.tuples(st.sampled_from(["x-a", "x-b", "a.b_c"]), PRINTABLE)
        | st.tuples(st.sampled_from(["x-a-bin", "y-bin"]), st.binary())
    )
)
def test_metadata_comes_back(metadata):
    own = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), (b"grpc-timeout", b"1S")]
    head = heads.trailers([field(name, value) for name, value in [*own, *encode_metadata(metadata)]])
    assert decode_metadata(head) == metadata


def test_binary_values_may_be_joined_with_commas():
    head = heads.trailers([field(b"x-bin", b"YQ==,Yg, Yw")])
    assert decode_metadata(head) == [("x-bin", b"a"), ("x-bin", b"b"), ("x-bin", b"c")]


def test_what_is_not_base64_is_refused():
    with pytest.raises(ValueError, match="not base64"):
        decode_binary(b"a!b")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1"),
        ("x a", "1"),
        ("", "1"),
        ("x-a", b"1"),
        ("x-bin", "1"),
        ("x-a", "é"),
        ("x-a", "a\nb"),
        ("x-a", " a"),
    ],
)
def test_metadata_that_a_peer_would_refuse_is_not_sent(name, value):
    with pytest.raises(ValueError, match="metadata"):
        encode_metadata([(name, value)])
