"""Header fields, and what HTTP/2 thinks of each by its name and value alone (RFC 9113, section 8.2).

A `Field` is judged once, when it is first decoded; tables keep the judged field, so an indexed field costs one look.
Whether a *list* of fields makes a request, a response or trailers is the matter of `waypost.wire.heads`.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

ENTRY_OVERHEAD_BYTES = 32  # RFC 7541, section 4.1; RFC 9113, section 10.5.1 counts lists by the same rule


class Kind(IntEnum):
    """What a reader of a header list must do about a field. REGULAR, nearly all of them, is 0: nothing."""

    REGULAR = 0
    PSEUDO = 1  # :method, :scheme, :authority, :path, :status
    CHECKED = 2  # content-length, host: its value counts in the list
    MALFORMED = 3  # forbidden by its name or by its value


class Field(NamedTuple):
    """size: by RFC 7541, section 4.1, in bytes."""

    name: bytes
    value: bytes
    kind: int
    size: int


Pairs = Iterable[tuple[bytes, bytes]]

PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path", b":status"})
CHECKED = frozenset({b"content-length", b"host"})
CONNECTION_SPECIFIC = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""RFC 9113, section 8.2.2: they belong to HTTP/1.1."""

# Section 8.2.1: visible ASCII without capitals and without a colon; that one only opens pseudo-header fields.
_NAME = re.compile(rb"[\x21-\x39\x3b-\x40\x5b-\x7e]+")
_VALUES: dict[bytes, re.Pattern[bytes]] = {
    b":method": re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),  # RFC 9110, section 9.1
    b":scheme": re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*"),  # RFC 3986, section 3.1
    b":path": re.compile(rb"/[^\0-\x20\x7f]*|\*"),  # section 8.3.1: never empty
    b":status": re.compile(rb"[1-9][0-9][0-9]"),  # section 8.3.2
    b"content-length": re.compile(rb"[0-9]{1,18}"),
    b"te": re.compile(rb"trailers"),  # section 8.2.2
}

_Rule = tuple[Kind, re.Pattern[bytes] | None]
_rules: dict[bytes, _Rule] = {}
"""What was found out about well-known names; never grows after the import."""


def field(name: bytes, value: bytes) -> Field:
    """The field, judged."""
    kind, pattern = _rules.get(name) or _rule(name)
    if pattern is not None:
        if not pattern.fullmatch(value):
            kind = Kind.MALFORMED
    # Section 8.2.1: no NUL, CR or LF, and no blank at either end. No pattern, since tokens are long and searches fast.
    elif b"\n" in value or b"\r" in value or b"\0" in value or value.strip(b" \t") != value:
        kind = Kind.MALFORMED
    return Field(name, value, kind, len(name) + len(value) + ENTRY_OVERHEAD_BYTES)


def _rule(name: bytes) -> _Rule:
    """What the name alone says, and what its values look like; None: as any field's."""
    if name in PSEUDO:
        kind = Kind.PSEUDO
    elif name in CHECKED:
        kind = Kind.CHECKED
    elif name in CONNECTION_SPECIFIC or not _NAME.fullmatch(name):
        kind = Kind.MALFORMED
    else:
        kind = Kind.REGULAR
    return kind, _VALUES.get(name)


def _static_table() -> list[tuple[bytes, bytes]]:
    """RFC 7541, appendix A, from index 1."""
    whole = """:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200
        |:status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset
        |accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow
        |authorization|cache-control|content-disposition|content-encoding|content-language|content-length
        |content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match
        |if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards
        |proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
        |strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""
    cells = (cell.strip().encode().partition(b" ") for cell in whole.split("|"))
    return [(name, value) for name, _, value in cells]


STATIC: tuple[Field, ...] = tuple(field(name, value) for name, value in _static_table())

_GRPC_NAMES = (
    b"te grpc-timeout grpc-encoding grpc-accept-encoding grpc-status grpc-message traceparent tracestate".split()
)
_rules |= {name: _rule(name) for name in [*(entry.name for entry in STATIC), *_GRPC_NAMES]}
