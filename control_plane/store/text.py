"""Text on its way into a store, or into a question to one. Pure.

Much of it is a stranger's: what a call that is refused asked for, what an agent says in an event. PostgreSQL takes no
NUL (SQLSTATE 22021), no database a lone surrogate; and what they refuse fails a transaction that many callers share. So
everything is brought into form before it comes together with others: what people read is mended and cut (`clean`), what
names a row is taken as it is or refused (`key`). What cannot be stored is not found (`is_key`).
"""

import re

from waypost.errors import Invalid

KEY_BYTES_MAX = 1000  # the longest name has 400; PostgreSQL's indexes take 2700
WORD_BYTES_MAX = 500  # of what names something, and is no key: a resource, a caller, a reason
PROSE_BYTES_MAX = 2048  # of a message, and of a request as the audit log shows it

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_REPLACEMENT, _CUT = "\N{REPLACEMENT CHARACTER}", "…"


def clean(text: str, bytes_max: int) -> str:
    """`text` as every store takes it: at most `bytes_max` bytes of UTF-8, the last an ellipsis where it was cut.

    What is clean stays as it is, so a question for what was stored finds it when it is cleaned alike.
    """
    if text.isascii() and len(text) <= bytes_max and "\0" not in text:
        return text
    told = _UNSTORABLE.sub(_REPLACEMENT, text[: bytes_max + 1]).encode()
    if len(told) <= bytes_max:
        return told.decode()
    return told[: bytes_max - len(_CUT.encode())].decode(errors="ignore") + _CUT


def is_key(text: str) -> bool:
    """Whether a row may have this name, or there may be names that begin with it."""
    return text.isascii() and "\0" not in text and len(text) <= KEY_BYTES_MAX


def key(text: str) -> str:
    """The same text. Raises: Invalid(BAD_KEY)."""
    if is_key(text):
        return text
    shown = ascii(text[:WORD_BYTES_MAX])
    raise Invalid("BAD_KEY", f"nothing can be stored as {shown}", f"at most {KEY_BYTES_MAX} bytes of ASCII without NUL")
