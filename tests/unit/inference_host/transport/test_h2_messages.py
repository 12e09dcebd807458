"""Length-prefixed messages: the same for every cut, refused as soon as they can be."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.transport.h2_messages import finish, next_message, reader
from inference_host.transport.message_buffer import LARGE_BYTES
from waypost.errors import Exhausted, Invalid, MeshError
from waypost.wire.messages import prefix

BYTES_MAX = 4 * LARGE_BYTES


def messages_of(pieces: list[bytes]) -> list[tuple[bool, bytes]]:
    messages, found = reader(BYTES_MAX), []
    for piece in pieces:
        messages.feed(piece)
        while (one := next_message(messages)) is not None:
            found.append((one[0], bytes(one[1])))
    return found


SIZES = st.sampled_from([0, 1, 10, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 2 * LARGE_BYTES])


@given(
    st.lists(st.tuples(st.booleans(), SIZES, st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, 5 * LARGE_BYTES), max_size=8),
)
def test_any_cuts_change_nothing(wanted: list[tuple[bool, int, int]], cuts: list[int]) -> None:
    expected = [(flag, bytes([fill]) * size) for flag, size, fill in wanted]
    body = b"".join(prefix(len(message), compressed=flag) + message for flag, message in expected)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    assert messages_of([body[start:end] for start, end in pairwise(places)]) == expected


@given(st.binary(max_size=100))
def test_any_bytes_are_messages_or_refused(data: bytes) -> None:
    with suppress(MeshError):
        messages_of([data[index : index + 1] for index in range(len(data))])


def test_what_was_used_is_known_at_every_moment() -> None:
    messages = reader(BYTES_MAX)
    messages.feed(prefix(3) + b"abc" + prefix(2) + b"d")
    assert (messages.held_bytes, messages.used) == (14, 0)
    next_message(messages)
    assert (messages.held_bytes, messages.used) == (6, 8)
    assert next_message(messages) is None
    assert (messages.held_bytes, messages.used) == (6, 8)


def test_a_large_message_counts_as_used_when_it_is_where_it_will_be_handed_out_from() -> None:
    messages = reader(BYTES_MAX)
    messages.feed(prefix(LARGE_BYTES) + bytes(10))
    assert next_message(messages) is None
    assert (messages.held_bytes, messages.used) == (10, 15)
    messages.feed(bytes(LARGE_BYTES))
    assert messages.used == LARGE_BYTES + 5
    found = next_message(messages)
    assert found is not None
    assert len(found[1]) == LARGE_BYTES
    assert messages.held_bytes == 10


def test_a_length_beyond_the_limit_is_refused_before_the_message_comes() -> None:
    with pytest.raises(Exhausted):
        messages_of([prefix(BYTES_MAX + 1)])


@pytest.mark.parametrize("size", [1, LARGE_BYTES])
@pytest.mark.parametrize("got", [b"", b"x"])
def test_an_end_inside_a_message_is_refused(size: int, got: bytes) -> None:
    """Also right behind the length of a large one, of which nothing is held yet."""
    messages = reader(BYTES_MAX)
    messages.feed(prefix(size + 1) + got)
    assert next_message(messages) is None
    with pytest.raises(Invalid, match="ended inside a message"):
        finish(messages)


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(Invalid):
        messages_of([b"\2\0\0\0\0"])
