"""Huffman-coded strings (RFC 7541, section 5.2 and appendix B)."""

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from waypost.wire import huffman
from waypost.wire.faults import Fault


def test_appendix_b_is_the_huffman_code():
    assert [huffman.codes()[symbol] for symbol in range(257)] == list(
        zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)
    )


@given(st.binary())
def test_huffman_strings_come_back(plain):
    coded = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(plain)
    assert huffman.decode(coded) == plain


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param("1fff", id="padding of more than seven bits"),
        pytest.param("18", id="padding of zeroes"),
        pytest.param("ffffffff", id="EOS at the end"),
        pytest.param("ffffffff1f", id="EOS in the first half of a byte"),
        pytest.param("ffffffffff", id="EOS and more"),
        pytest.param("1fffffffff", id="EOS in the second half of a byte"),
    ],
)
def test_section_5_2_wrong_huffman_strings_are_refused(coded):
    with pytest.raises(Fault) as caught:
        huffman.decode(bytes.fromhex(coded))
    assert caught.value.reason == "HUFFMAN_INVALID"
