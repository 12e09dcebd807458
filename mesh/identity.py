"""Who a process is and whom it trusts: one value, taken by every server and every channel.

On one machine, Unix sockets in a 0700 directory need neither (`Identity.local()`). Off the machine a process holds a
certificate with a SPIFFE name, its key and the roots to check others by, as files in one directory:

    certificate.pem   leaf first          key.pem   0600          roots.pem
"""

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from waypost.rpc import Tls

if TYPE_CHECKING:
    import grpc

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

    @classmethod
    def of_server(cls, directory: Path) -> Self:
        """The same without roots, for a server that asks for no certificates. Raises: OSError."""
        return cls(*((directory / name).read_bytes() for name in (CERTIFICATE, KEY)))

    @property
    def is_local(self) -> bool:
        return not self.certificate

    def server_credentials(self, *, mutual: bool) -> "grpc.ServerCredentials":
        """For a TLS server; `mutual` asks every client for a certificate under our roots."""
        import grpc  # 8 MB, which hosts have no use for

        assert not self.is_local
        pair = [(self.key, self.certificate)]
        return grpc.ssl_server_credentials(pair, self.roots if mutual else None, require_client_auth=mutual)

    def tls(self) -> Tls | None:
        """For channels that we open; None where they are plaintext."""
        if self.is_local and not self.roots:
            return None
        return Tls(self.roots or None, self.certificate or None, self.key or None)


class LiveIdentity:
    """An identity that may be replaced while servers show it: every connection from then on sees the new one."""

    is_local = False

    def __init__(self, identity: Identity) -> None:
        self.current = identity

    def server_credentials(self, *, mutual: bool) -> "grpc.ServerCredentials":
        """As those of an Identity. Connections that stand keep what they have seen."""
        import grpc

        shown = self.current

        def configuration() -> "grpc.ServerCertificateConfiguration":
            pair = [(shown.key, shown.certificate)]
            return grpc.ssl_server_certificate_configuration(pair, shown.roots if mutual else None)

        def changed() -> "grpc.ServerCertificateConfiguration | None":
            """Called by grpc before each handshake, on a thread of its own; None: as before."""
            nonlocal shown
            if shown is self.current:
                return None
            shown = self.current
            return configuration()

        return grpc.dynamic_ssl_server_credentials(configuration(), changed, mutual)  # type: ignore[arg-type]  # None is allowed


def server_context(directory: Path, protocols: Sequence[str]) -> ssl.SSLContext:
    """For TLS servers that are not grpc's. protocols: offered to clients (ALPN), the best first.

    Python's ssl reads certificates from files only, hence the directory; of its files, roots are not needed. Raises:
    OSError (ssl.SSLError is one).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113, section 9.2.1
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2, those that HTTP/2 allows (section 9.2.2)
    context.set_alpn_protocols(list(protocols))
    for name in (CERTIFICATE, KEY):
        (directory / name).open("rb").close()  # ssl would not say which one is missing
    context.load_cert_chain(directory / CERTIFICATE, directory / KEY, _no_passphrase)
    return context


def _no_passphrase() -> NoReturn:
    """In place of OpenSSL's question at the terminal, which would hold up a service for ever."""
    raise OSError(f"{KEY} is protected by a passphrase, and nobody is here to type it")


def peer_uris(auth_context: Mapping[str, list[bytes]]) -> list[str]:
    """SPIFFE names in the certificate of the peer of a call (`context.auth_context()`); empty without one."""
    names = auth_context.get("peer_spiffe_id") or auth_context.get("x509_subject_alternative_name") or []
    return [name.decode() for name in names if name.startswith(b"spiffe://")]
