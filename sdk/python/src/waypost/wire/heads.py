"""What a list of header fields says: a request, a response, or trailers (RFC 9113, sections 8.1 to 8.3, 8.5).

A `Head` is made once for a block of bytes and shared by every call that repeats the block (`waypost.wire.blocks`). It
must therefore not be changed, with one exception: `note` is the owner's, for whatever it derives from the fields
alone, such as the method to call or the checked token. Deriving it once per block instead of once per call is half of
what makes a warm connection fast.
"""

from collections.abc import Sequence
from typing import Any

from waypost.wire.faults import Malformed
from waypost.wire.fields import Field, Kind

_NO_BODY_STATUSES = frozenset({204, 304})  # RFC 9110, section 6.4.1


class Head:
    """fields: without the pseudo-header fields, in the sender's order. What does not apply is empty, 0 or −1."""

    __slots__ = ("authority", "fields", "length", "method", "note", "path", "scheme", "status", "values")

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields
        self.values: dict[bytes, bytes] | None = None
        self.method = b""
        self.scheme = b""
        self.authority = b""
        self.path = b""
        self.status = 0
        self.length = -1
        """content-length in bytes."""
        self.note: Any = None

    def get(self, name: bytes) -> bytes | None:
        """The value of a field; of several, the last. `fields` has all."""
        values = self.values
        if values is None:
            values = self.values = {field.name: field.value for field in self.fields}
        return values.get(name)

    def __repr__(self) -> str:
        return f"Head({self.method or self.status!r}, {self.path!r}, {len(self.fields)} fields)"


def request(fields: list[Field]) -> Head:
    """Sections 8.3.1 and 8.5. Raises Malformed."""
    pseudo, length, host = _sort(fields)
    head = Head(fields[len(pseudo) :])
    head.length = length
    try:
        head.method = pseudo.pop(b":method")
        if head.method == b"CONNECT":
            head.authority = pseudo.pop(b":authority")
        else:
            head.scheme = pseudo.pop(b":scheme")
            head.path = pseudo.pop(b":path")
            head.authority = pseudo.pop(b":authority", host or b"")
    except KeyError as missing:
        raise Malformed(f"MISSING_{missing.args[0][1:].decode().upper()}") from None
    if pseudo:
        raise Malformed("UNEXPECTED_PSEUDO_HEADER")
    if head.path == b"*" and head.method != b"OPTIONS":
        raise Malformed("PATH_INVALID")
    if host is not None and host.lower() != head.authority.lower():
        raise Malformed("HOST_IS_NOT_AUTHORITY")
    return head


def response(fields: list[Field]) -> Head:
    """Section 8.3.2. Raises Malformed."""
    pseudo, length, _ = _sort(fields)
    head = Head(fields[len(pseudo) :])
    status = pseudo.pop(b":status", None)
    if status is None:
        raise Malformed("MISSING_STATUS")
    if pseudo:
        raise Malformed("UNEXPECTED_PSEUDO_HEADER")
    head.status = int(status)
    head.length = -1 if head.status in _NO_BODY_STATUSES else length
    return head


def trailers(fields: list[Field]) -> Head:
    """Section 8.1: no pseudo-header fields. Raises Malformed."""
    if _sort(fields)[0]:
        raise Malformed("PSEUDO_HEADER_IN_TRAILERS")
    return Head(fields)


def _sort(fields: list[Field]) -> tuple[dict[bytes, bytes], int, bytes | None]:
    """→ (pseudo-header fields, content-length or −1, host or None). Few fields are anything but regular."""
    pseudo: dict[bytes, bytes] = {}
    length, host = -1, None
    for place, (name, value, kind, _) in enumerate(fields):
        if not kind:
            continue
        if kind == Kind.PSEUDO:
            if place != len(pseudo) or name in pseudo:  # they come first, each once (section 8.3)
                raise Malformed("PSEUDO_HEADER_MISPLACED")
            pseudo[name] = value
        elif kind == Kind.MALFORMED:
            raise Malformed("FIELD_INVALID")
        elif name == b"host":
            host = value
        elif length not in (-1, int(value)):
            raise Malformed("CONTENT_LENGTHS_DIFFER")
        else:
            length = int(value)
    return pseudo, length, host
