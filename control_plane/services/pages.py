"""Page sizes and page tokens.

A token says where the next page begins. It is opaque and signed, and holds for the query that it was given out for:
used with another one it is refused instead of skipping in the wrong list.
"""

import base64
import hashlib
import hmac

from waypost.errors import Invalid

PAGE_SIZE_MAX = 1000
PAGE_SIZE_DEFAULT = 100
_MAC_BYTES = 16  # of an HMAC-SHA256: nothing secret depends on it, only sense


def page_size(asked: int) -> int:
    """Raises: Invalid(INVALID_FIELD)."""
    if not 0 <= asked <= PAGE_SIZE_MAX:
        problem = f"page_size must be 1..{PAGE_SIZE_MAX}, or 0 for {PAGE_SIZE_DEFAULT}; got {asked}"
        raise Invalid("INVALID_FIELD", problem, field="page_size")
    return asked or PAGE_SIZE_DEFAULT


class Pages:
    """Seals and opens tokens with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, query: str, after: str) -> str:
        """The token that continues `query` after `after`; empty where there is nothing after it."""
        if not after:
            return ""
        return base64.urlsafe_b64encode(self._mac(query, after) + after.encode()).decode().rstrip("=")

    def open(self, query: str, token: str) -> str:
        """What `seal` was given; empty for no token. Raises: Invalid(BAD_PAGE_TOKEN)."""
        if not token:
            return ""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            mac, after = raw[:_MAC_BYTES], raw[_MAC_BYTES:].decode()
        except ValueError as error:
            raise _bad_token() from error
        if not after or not hmac.compare_digest(mac, self._mac(query, after)):
            raise _bad_token()
        return after

    def _mac(self, query: str, after: str) -> bytes:
        return hmac.new(self._key, f"{query}\n{after}".encode(), hashlib.sha256).digest()[:_MAC_BYTES]


def _bad_token() -> Invalid:
    hint = "use next_page_token of the answer before, with the same request otherwise; or leave it out to begin anew"
    return Invalid("BAD_PAGE_TOKEN", "page_token is not one that was given out for this request", hint)
