"""Text that others wrote becomes text that can be kept anywhere."""

import signal
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plain_text import plain
from mesh.signals import signal_name

anything = st.text(st.characters(categories=None) | st.sampled_from("\0\x1b\x7f\x85\ud800\udfff\n\t"))


@given(anything, st.integers(1, 50))
def test_what_comes_out_is_short_utf8_without_control_characters(text: str, most: int) -> None:
    found = plain(text, most)
    assert len(found) <= most
    assert found.encode().decode() == found
    assert all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in found)
    assert plain(found, most) == found


@pytest.mark.parametrize("text", ["", "an error\n\tin two lines", "Prüfung 試験 🙂"])
def test_what_is_plain_already_stays(text: str) -> None:
    assert plain(text, 100) == text


def test_what_cannot_be_kept_leaves_a_mark() -> None:
    assert plain("a\0b\x1b[1m\ud800", 100) == "a�b�[1m�"
    assert plain("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (63, "signal 63"), (1000, "signal 1000")])
def test_every_signal_can_be_named(number: int, name: str) -> None:
    assert signal_name(number) == name
