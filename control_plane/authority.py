"""Who may call itself what: the certificates of this mesh.

The control plane keeps a root of its own, made at its first start, and signs two kinds of leaves with it: its own
server certificate (API port and link port) and one for each edge server that enrols. Nothing else is ever signed here.

Names are SPIFFE URIs. X.509 can constrain the *host* of a URI and not its path, and an agent is to become an
intermediate authority for its own monitors and hosts, so the edge server stands in the host part:

    spiffe://waypost/control-plane          the control plane
    spiffe://<edge server>.waypost/agent    the agent of `edgeServers/<edge server>`

An edge server's id is a DNS label, so the two can never meet. Who has no certificate yet knows us by the *pin* in its
join token: sha256 of the root's public key (its DER SubjectPublicKeyInfo). The server therefore shows its whole chain,
root included. Keys lie in `<data_dir>/identity` (0700, files 0600) and never leave it. Losing that directory means
that every edge server must join again; nothing that serves at the edge stops for it.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.files import private_directory, write_atomically
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity
from waypost.errors import Invalid, Precondition

TRUST_DOMAIN = "waypost"
CONTROL_PLANE = f"spiffe://{TRUST_DOMAIN}/control-plane"

ROOT_LIFE = timedelta(days=3650)  # replaced by hand; ten years outlive the machine
LEAF_LIFE = timedelta(days=365)  # longer than any outage an edge server has to survive on its own
RENEW_BEFORE = LEAF_LIFE / 2  # the server's own leaf is made anew when this little of it is left
BACKDATED = timedelta(hours=1)  # clocks at the edge run behind ours

CERTIFICATE_REQUEST_BYTES_MAX = 16 << 10  # a request with one key is below 1 KiB


@dataclass(frozen=True, slots=True)
class _Signer:
    """A certificate that may sign, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """The root, and what was signed with it. Methods are synchronous: each costs well under a millisecond."""

    def __init__(self, directory: Path, signer: _Signer) -> None:
        self._directory = directory
        self._signer = signer

    @classmethod
    def open(cls, directory: Path, *, now: float, certificate: Path | None = None, key: Path | None = None) -> Self:
        """The root in `directory`, made now where there is none yet. now: seconds since the epoch.

        certificate, key: an operator's own authority to sign with instead (PEM, EC).
        Raises Precondition (IDENTITY_INCOMPLETE, BAD_AUTHORITY).
        """
        private_directory(directory)
        at, key_at = certificate or directory / "ca.pem", key or directory / "ca.key"
        if certificate is None and key is None and not at.exists():
            _create_root(at, key_at, now)
        return cls(directory, _load_signer(at, key_at))

    @property
    def roots(self) -> bytes:
        """PEM of what everyone in this mesh trusts."""
        return self._signer.certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> str:
        """sha256 of the root's SubjectPublicKeyInfo, hex: what a join token carries."""
        return pin(self._signer.certificate)

    def identity(self, names: Sequence[str], *, now: float) -> Identity:
        """The control plane's own identity, with `names` (DNS names and IP addresses) in its certificate.

        Signed anew when a name is missing, when half its life is over or when the root is another one.
        """
        at, key_at = self._directory / CERTIFICATE, self._directory / KEY
        if not (at.exists() and key_at.exists() and self._still_good(at, key_at, names, now)):
            key = ec.generate_private_key(ec.SECP256R1())
            leaf = self._leaf(key.public_key(), "waypost control plane", CONTROL_PLANE, names, now)
            write_atomically(key_at, _private_pem(key))
            write_atomically(at, leaf.public_bytes(Encoding.PEM) + self.roots)
            write_atomically(self._directory / ROOTS, self.roots)
        return Identity.load(self._directory)

    def issue(self, certificate_request: bytes, edge_server: str, *, now: float) -> str:
        """A certificate for the agent of `edge_server` (its id), PEM, leaf first and root last.

        certificate_request: PKCS #10, DER; only its public key is read, after its signature proved that the sender
        holds the private one. Raises Invalid (BAD_CERTIFICATE_REQUEST).
        """
        leaf = self._leaf(requested_key(certificate_request), edge_server, agent_name(edge_server), (), now)
        return (leaf.public_bytes(Encoding.PEM) + self.roots).decode()

    def _leaf(
        self,
        public_key: ec.EllipticCurvePublicKey,
        common_name: str,
        spiffe: str,
        names: Sequence[str],
        now: float,
    ) -> x509.Certificate:
        issuer = self._signer.certificate
        sans = [x509.UniformResourceIdentifier(spiffe), *map(_general_name, names)]
        return (
            _builder(common_name, issuer.subject, public_key, now, LEAF_LIFE)
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signer.key.public_key()), critical=False
            )
            .sign(self._signer.key, hashes.SHA256())
        )

    def _still_good(self, at: Path, key_at: Path, names: Sequence[str], now: float) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(at.read_bytes())
            key = load_pem_private_key(key_at.read_bytes(), password=None)
            leaf.verify_directly_issued_by(self._signer.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        covered = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        return (
            key.public_key() == leaf.public_key()  # a kill between the two writes leaves a new key and an old leaf
            and covered.issuperset(map(_general_name, names))
            and leaf.not_valid_after_utc - _moment(now) > RENEW_BEFORE
        )


def agent_name(edge_server: str) -> str:
    """SPIFFE URI of the agent of an edge server, given its id: `tower-7` -> `spiffe://tower-7.waypost/agent`."""
    return f"spiffe://{edge_server}.{TRUST_DOMAIN}/agent"


def edge_server_of(spiffe: str) -> str | None:
    """The edge server's id in an agent's URI; None for every other name."""
    host, slash, path = spiffe.removeprefix("spiffe://").partition("/")
    edge_server, dot, domain = host.partition(".")
    is_agent = spiffe.startswith("spiffe://") and (slash, path, dot, domain) == ("/", "agent", ".", TRUST_DOMAIN)
    return edge_server if is_agent and edge_server else None


def pin(certificate: x509.Certificate) -> str:
    """sha256 of a certificate's SubjectPublicKeyInfo, hex (RFC 7469, section 2.4, in hex instead of base64)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def requested_key(certificate_request: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a PKCS #10 request (DER), proven to be the sender's. Raises Invalid."""
    hint = "send a DER encoded PKCS #10 request with an EC P-256 key, signed with that key"
    if not 0 < len(certificate_request) <= CERTIFICATE_REQUEST_BYTES_MAX:
        raise Invalid(
            "BAD_CERTIFICATE_REQUEST",
            f"certificate_request must hold 1..{CERTIFICATE_REQUEST_BYTES_MAX} bytes, got {len(certificate_request)}",
            hint,
        )
    try:
        request = x509.load_der_x509_csr(certificate_request)
        key, genuine = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError) as error:
        raise Invalid("BAD_CERTIFICATE_REQUEST", f"certificate_request cannot be read: {error}", hint) from error
    if not genuine:
        raise Invalid("BAD_CERTIFICATE_REQUEST", "certificate_request is not signed with the key it carries", hint)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("BAD_CERTIFICATE_REQUEST", "certificate_request carries a key that is not EC P-256", hint)
    return key


def _create_root(at: Path, key_at: Path, now: float) -> None:
    """Writes the key first: a certificate without its key would be taken for a finished root."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("waypost root")
    root = (
        _builder("waypost root", subject, key.public_key(), now, ROOT_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_atomically(key_at, _private_pem(key))
    write_atomically(at, root.public_bytes(Encoding.PEM))


def _load_signer(at: Path, key_at: Path) -> _Signer:
    missing = [str(path) for path in (at, key_at) if not path.exists()]
    if missing:
        raise Precondition(
            "IDENTITY_INCOMPLETE",
            f"the authority's {' and '.join(missing)} is missing",
            "restore it from a backup, or remove the whole identity directory and let every edge server join again",
        )
    try:
        certificate = x509.load_pem_x509_certificate(at.read_bytes())
        key = load_pem_private_key(key_at.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise Precondition("BAD_AUTHORITY", f"{at} or {key_at} cannot be read: {error}", "give PEM files") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Precondition(
            "BAD_AUTHORITY", f"{key_at} is not the EC key of {at}", "give a certificate and the key that belongs to it"
        )
    return _Signer(certificate, key)


def _builder(
    common_name: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: float, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(common_name))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now) - BACKDATED)
        .not_valid_after(_moment(now) + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC)
