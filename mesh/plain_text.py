"""Text that somebody else wrote, made fit to be kept and shown. Pure.

What a template raises, or writes into a file of ours, may hold anything that a Python string can: half of a surrogate
pair, which no protobuf takes, a NUL, which PostgreSQL refuses, an escape sequence, or a gigabyte. It is cleaned once,
where it is read.
"""

import re
from collections.abc import Mapping

MARK, CUT = "\ufffd", "\u2026"
"""Stand for a character that cannot be kept, and for all that is too much."""

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

_MARKED: Mapping[int, str] = {
    **{number: MARK for number in (*range(0x20), *range(0x7F, 0xA0)) if chr(number) not in "\n\t"},  # category Cc
    **dict.fromkeys(range(0xD800, 0xE000), MARK),  # surrogates
}


def plain(text: str, characters_max: int) -> str:
    """The text as valid UTF-8 without control characters but newline and tab, cut to so many of them (>= 1)."""
    cut = text if len(text) <= characters_max else text[: characters_max - 1] + CUT
    return cut.translate(_MARKED)


def is_reason(text: str) -> bool:
    """Whether it looks like the reason of an error of ours: UPPER_SNAKE, 64 characters at most."""
    return _REASON.fullmatch(text) is not None
