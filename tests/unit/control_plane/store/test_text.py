"""Text at the store's rim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.store.text import KEY_BYTES_MAX, clean, is_key, key
from waypost.errors import Invalid

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
BOUNDS = st.integers(3, 50)


@given(ANY_TEXT, BOUNDS)
def test_what_is_clean_is_valid_bounded_and_stays_as_it_is(text: str, bytes_max: int) -> None:
    once = clean(text, bytes_max)
    assert len(once.encode()) <= bytes_max
    assert "\0" not in once
    assert clean(once, bytes_max) == once


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40))
def test_what_can_be_stored_is_left_alone(text: str) -> None:
    assert clean(text, 200) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("abcdefghij", "abcdefghij"),
        ("abcdefghijk", "abcdefg…"),
        ("äöüäöü", "äöü…"),
        ("\0\0\0\0", "\ufffd\ufffd…"),
    ],
)
def test_what_cannot_be_is_replaced_and_what_is_too_long_is_cut(text: str, cleaned: str) -> None:
    assert clean(text, 10) == cleaned


@pytest.mark.parametrize("text", ["a\0", "projects/ä", "\ud800", "a" * (KEY_BYTES_MAX + 1)])
def test_what_cannot_be_a_key_is_refused(text: str) -> None:
    assert not is_key(text)
    with pytest.raises(Invalid, match="nothing can be stored as"):
        key(text)


def test_a_key_stays_as_it_is() -> None:
    assert key("a" * KEY_BYTES_MAX) == "a" * KEY_BYTES_MAX
