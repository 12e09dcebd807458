"""Whom a channel speaks to, whatever speaks: addresses, and what TLS needs.

An address is `host:port`, `unix:/path`, `http://host:port` or `https://host:port`.
"""

from dataclasses import dataclass

MESSAGE_BYTES_MAX = 64 << 20  # the same number at SDK, gateway and host: a 600 KB image fits a hundred times


@dataclass(frozen=True, slots=True)
class Tls:
    """What to trust and who to be, in PEM. Everything empty: the system's roots and no certificate."""

    roots: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None
    """Name that the server's certificate must carry, where it is not the address."""


def without_scheme(address: str) -> tuple[str, bool]:
    """`host:port` or `unix:/path`, and whether its scheme asks for TLS."""
    scheme, separator, rest = address.partition("://")
    return rest.rstrip("/") if separator else address, scheme == "https"
