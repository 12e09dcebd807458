"""Who a process is and whom it trusts: one value, taken by every server and every channel.

On one machine, Unix sockets in a 0700 directory need neither (`Identity.local()`). Off the machine a process holds a
certificate with a SPIFFE name, its key and the roots to check others by, as files in one directory:

    certificate.pem   leaf first          key.pem   0600          roots.pem
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from waypost.rpc import Tls

CERTIFICATE, KEY, ROOTS = "certificate.pem", "key.pem", "roots.pem"


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM bytes; all empty for a local identity."""

    certificate: bytes = b""
    key: bytes = b""
    roots: bytes = b""

    @classmethod
    def local(cls) -> Self:
        """Neither certificate nor roots: for Unix sockets, and for plaintext on loopback."""
        return cls()

    @classmethod
    def load(cls, directory: Path) -> Self:
        """From a directory's three files. Raises: OSError."""
        return cls(*((directory / name).read_bytes() for name in (CERTIFICATE, KEY, ROOTS)))

    @property
    def is_local(self) -> bool:
        return not self.certificate

    def server_credentials(self, *, mutual: bool) -> grpc.ServerCredentials:
        """For a TLS server; `mutual` asks every client for a certificate under our roots."""
        assert not self.is_local
        pair = [(self.key, self.certificate)]
        return grpc.ssl_server_credentials(pair, self.roots if mutual else None, require_client_auth=mutual)

    def tls(self) -> Tls | None:
        """For channels that we open; None where they are plaintext."""
        if self.is_local and not self.roots:
            return None
        return Tls(self.roots or None, self.certificate or None, self.key or None)


def peer_uris(auth_context: Mapping[str, list[bytes]]) -> list[str]:
    """SPIFFE names in the certificate of the peer of a call (`context.auth_context()`); empty without one."""
    names = auth_context.get("peer_spiffe_id") or auth_context.get("x509_subject_alternative_name") or []
    return [name.decode() for name in names if name.startswith(b"spiffe://")]
