"""Under which names, addresses and certificates the two ports are served."""

import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from control_plane.settings import ControlPlaneSettings
from mesh.identity import Identity
from mesh.serve import split_address
from waypost.errors import Invalid

WILDCARDS = ("0.0.0.0", "::")  # listened on, and nobody's address
ALWAYS = ("localhost", "127.0.0.1", "::1")


def certificate_names(settings: ControlPlaneSettings) -> list[str]:
    """DNS names and IP addresses for our own certificate, each once. Raises Precondition (BAD_ADDRESS)."""
    addresses = [settings.listen, settings.link_listen, settings.peer_address, *settings.advertise_address.split(",")]
    hosts = [split_address(address)[0] for address in addresses if address]
    named = [*ALWAYS, socket.gethostname(), *settings.advertise_names, *hosts]
    return [name for name in dict.fromkeys(named) if name not in WILDCARDS]


def advertised_address(settings: ControlPlaneSettings, bound: str) -> str:
    """`host:port` of the link as edge servers reach it, or several with commas. bound: what it listens on."""
    return settings.advertise_address or _reachable(bound)


def peer_address(settings: ControlPlaneSettings, bound: str) -> str:
    """`host:port` of the link as other control planes reach it."""
    return settings.peer_address or _reachable(bound)


def _reachable(bound: str) -> str:
    host, port = split_address(bound)
    return f"{socket.gethostname()}:{port}" if host in WILDCARDS else bound


def api_identity(settings: ControlPlaneSettings, own: Identity) -> Identity:
    """The operator's own certificate where there is one, else `own`. Raises Invalid (BAD_CERTIFICATE)."""
    if not settings.certificate and not settings.key:
        return own
    if not settings.certificate or not settings.key:
        raise Invalid("BAD_CERTIFICATE", "certificate and key belong together", "give both, or neither")
    identity = Identity(_read(settings.certificate), _read(settings.key), own.roots)
    if _chain(identity.certificate)[0].public_key() != _public_key(identity.key):
        message = f"{settings.key} is not the key of {settings.certificate}"
        raise Invalid("BAD_CERTIFICATE", message, "give a certificate and the key that belongs to it")
    return identity


def root_of(chain: bytes) -> x509.Certificate:
    """The last of a chain in PEM: what clients trust, and what join tokens carry the pin of. Raises Invalid."""
    return _chain(chain)[-1]


def _chain(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise Invalid("BAD_CERTIFICATE", f"the certificate is not PEM: {error}", "leaf first, root last") from error


def _public_key(pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, password=None).public_key()
    except (ValueError, TypeError) as error:
        hint = "give it in PEM, without a passphrase"
        raise Invalid("BAD_CERTIFICATE", f"the certificate's key cannot be read: {error}", hint) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid("BAD_CERTIFICATE", f"{path} cannot be read: {error.strerror}", "name a file in PEM") from error
