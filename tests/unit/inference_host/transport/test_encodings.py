"""Compressed bodies: what goes in comes out, and no small body becomes a large one."""

import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.transport.encodings import chosen, compressed, decompressed
from waypost.errors import Invalid, Unsupported

CODINGS = st.sampled_from(["gzip", "deflate"])


@given(st.lists(st.binary()), CODINGS)
def test_what_was_compressed_comes_back(parts: list[bytes], coding: str) -> None:
    body = b"".join(parts)
    assert decompressed(compressed(parts, coding), coding, len(body)) == body


def test_others_can_read_it() -> None:
    assert gzip.decompress(compressed([b"a", b"b"], "gzip")) == b"ab"
    assert zlib.decompress(compressed([b"a", b"b"], "deflate")) == b"ab"


@given(st.binary(), CODINGS)
def test_any_bytes_are_taken_or_refused(body: bytes, coding: str) -> None:
    with suppress(Invalid):
        assert len(decompressed(body, coding, 1 << 16)) <= 1 << 16


def test_a_bomb_is_refused_before_it_is_large() -> None:
    bomb = gzip.compress(b"\0" * (1 << 24))
    with pytest.raises(Invalid) as refused:
        decompressed(bomb, "gzip", 1 << 16)
    assert refused.value.reason == "BODY_TOO_LARGE"


@pytest.mark.parametrize("tail", [b"", b"more"])
def test_half_a_stream_and_one_with_a_tail_are_refused(tail: bytes) -> None:
    body = gzip.compress(b"x" * 100)
    with pytest.raises(Invalid):
        decompressed(body + tail if tail else body[:-1], "gzip", 1 << 16)


def test_a_coding_that_nobody_here_knows_is_refused() -> None:
    with pytest.raises(Unsupported):
        decompressed(b"", "br", 1)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("br", ""),
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.1, deflate;q=0.9", "deflate"),
        ("gzip;q=0", ""),
        ("*", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=nonsense", ""),
    ],
)
def test_the_answer_is_coded_as_the_caller_prefers(accepted: str, coding: str) -> None:
    assert chosen(accepted) == coding
