"""Large messages: the same bytes for every cut, and their end where runtimes want it."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference_host.transport.message_buffer import ALIGNMENT_BYTES, MessageBuffer


@given(st.binary(max_size=1000), st.lists(st.integers(0, 1000), max_size=10), st.binary(max_size=10))
def test_a_message_is_the_sum_of_its_pieces_and_takes_no_more(message: bytes, cuts: list[int], more: bytes) -> None:
    buffer = MessageBuffer(len(message))
    places = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
    for start, end in pairwise(places):
        assert not buffer.complete
        assert buffer.add(message[start:end]) == end - start
    assert buffer.add(more) == 0
    assert buffer.complete
    assert bytes(buffer.message()) == message


@given(st.integers(1, 100_000))
def test_a_message_ends_on_an_aligned_address_and_is_read_only(size: int) -> None:
    buffer = MessageBuffer(size)
    buffer.add(bytes(size))
    view = buffer.message()
    assert view.readonly
    array = np.frombuffer(view, np.uint8)
    assert (array.__array_interface__["data"][0] + size) % ALIGNMENT_BYTES == 0


def test_a_piece_that_holds_more_is_taken_in_part() -> None:
    buffer = MessageBuffer(5)
    assert buffer.add(b"abc") == 3
    assert buffer.add(b"defgh") == 2
    assert bytes(buffer.message()) == b"abcde"
