"""Who a process is and whom it trusts: one value, taken by every server and every channel.

On one machine, Unix sockets in a 0700 directory need neither (`Identity.local()`). Off the machine a process holds a
certificate with a SPIFFE name, its key and the roots to check others by, as files in one directory:

    certificate.pem   leaf first          key.pem   0600          roots.pem
"""

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

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

    def tls(self, server_name: str | None = None) -> Tls | None:
        """For channels that we open; None where they are plaintext. server_name: that the certificate of whom we dial
        must carry, where it is not the address.
        """
        if self.is_local and not self.roots:
            return None
        return Tls(self.roots or None, self.certificate or None, self.key or None, server_name)


class LiveIdentity:
    """An identity that may be replaced while servers show it: every connection from then on sees the new one."""

    is_local = False

    def __init__(self, identity: Identity) -> None:
        self.current = identity

    def look(self) -> Identity:
        """What is to be shown now. Called on threads of grpc's."""
        return self.current

    def server_credentials(self, *, mutual: bool) -> "grpc.ServerCredentials":
        """As those of an Identity. Connections that stand keep what they have seen."""
        import grpc

        shown = self.look()

        def configuration() -> "grpc.ServerCertificateConfiguration":
            pair = [(shown.key, shown.certificate)]
            return grpc.ssl_server_certificate_configuration(pair, shown.roots if mutual else None)

        def changed() -> "grpc.ServerCertificateConfiguration | None":
            """Called by grpc before each handshake, on a thread of its own; None: as before."""
            nonlocal shown
            before, shown = shown, self.look()
            return None if shown == before else configuration()

        return grpc.dynamic_ssl_server_credentials(configuration(), changed, mutual)  # type: ignore[arg-type]  # None is allowed


class IdentityOnDisk(LiveIdentity):
    """The same in a directory whose files somebody else replaces: they are read before each handshake.

    Where a handshake falls between the writing of two of them it fails, and whoever dialled dials again.
    """

    def __init__(self, directory: Path) -> None:
        """Raises: OSError."""
        super().__init__(Identity.load(directory))
        self._directory = directory

    def look(self) -> Identity:
        with suppress(OSError):  # what was shown before is better than nothing
            self.current = Identity.load(self._directory)
        return self.current


def client_context(directory: Path) -> ssl.SSLContext:
    """For gRPC over TLS that is not grpc's, with all three files of a directory, as they are now.

    Raises: OSError (ssl.SSLError is one).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(directory / ROOTS)
    context.load_cert_chain(directory / CERTIFICATE, directory / KEY, _no_passphrase)
    return context


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


def claimed_names(context: Any) -> list[str] | None:
    """SPIFFE names of who calls, given a call's context; None for a caller on a Unix socket, who needs none."""
    given = context.auth_context()
    return None if given.get("transport_security_type") != [b"ssl"] else peer_uris(given)


def peer_uris(auth_context: Mapping[str, list[bytes]]) -> list[str]:
    """SPIFFE names in the certificate of the peer of a call (`context.auth_context()`); empty without one."""
    names = auth_context.get("peer_spiffe_id") or auth_context.get("x509_subject_alternative_name") or []
    return [name.decode() for name in names if name.startswith(b"spiffe://")]
