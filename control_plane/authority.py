"""The root of this mesh, and what was signed with it.

The control plane keeps a root of its own, made at its first start, and signs two kinds of leaves with it: its own
server certificate (API port and link port) and one for each edge server that enrols, under the names of mesh/spiffe.py.
Nothing else is ever signed here.

Who has no certificate yet knows us by the *pin* in its join token: sha256 of the root's public key (its DER
SubjectPublicKeyInfo). The server therefore shows its whole chain, root included. Keys lie in `<data_dir>/identity`
(0700, files 0600) and never leave it. Losing that directory means that every edge server must join again; nothing that
serves at the edge stops for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mesh import certificates
from mesh.certificates import Life, Signer, luck_of
from mesh.files import private_directory, write_atomically
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity
from mesh.spiffe import CONTROL_PLANE, agent_name, edge_server_of
from waypost.errors import Denied, Invalid, Precondition

ROOT_LIFE = timedelta(days=3650)  # replaced by hand; ten years outlive the machine
SERVER_LIFE = timedelta(days=90)  # renewed while we run and at each start, so that nobody depends on the figure
AGENT_LIFE = timedelta(days=30)  # an edge server away for two weeks comes back as if nothing had been

CERTIFICATE_REQUEST_BYTES_MAX = 16 << 10  # a request with one key is below 1 KiB


@dataclass(frozen=True, slots=True)
class AgentCertificate:
    """What a certificate that we signed for an agent says."""

    edge_server: str
    """`edgeServers/{edge_server}`."""
    life: Life
    key: ec.EllipticCurvePublicKey


class Authority:
    """The root, and what was signed with it. Methods are synchronous: each costs well under a millisecond."""

    def __init__(self, directory: Path, signer: Signer, agent_life: timedelta) -> None:
        self._directory = directory
        self._signer = signer
        self._agent_life = agent_life

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        now: float,
        certificate: Path | None = None,
        key: Path | None = None,
        agent_life: timedelta = AGENT_LIFE,
    ) -> Self:
        """The root in `directory`, made now where there is none yet. now: seconds since the epoch.

        certificate, key: an operator's own authority to sign with instead (PEM, EC).
        Raises Precondition (IDENTITY_INCOMPLETE, BAD_AUTHORITY).
        """
        private_directory(directory)
        at, key_at = certificate or directory / "ca.pem", key or directory / "ca.key"
        if certificate is None and key is None and not at.exists():
            _create_root(at, key_at, now)
        return cls(directory, _load_signer(at, key_at), agent_life)

    @property
    def roots(self) -> bytes:
        """PEM of what everyone in this mesh trusts."""
        return certificates.pem(self._signer.certificate)

    @property
    def pin(self) -> str:
        """sha256 of the root's SubjectPublicKeyInfo, hex: what a join token carries."""
        return certificates.pin(self._signer.certificate)

    def identity(self, names: Sequence[str], *, now: float) -> Identity:
        """The control plane's own identity, with `names` (DNS names and IP addresses) in its certificate.

        Signed anew when a name is missing, when half its life is over or when the root is another one.
        """
        at, key_at = self._directory / CERTIFICATE, self._directory / KEY
        if not (at.exists() and key_at.exists() and self._still_good(at, key_at, names, now)):
            key = certificates.new_key()
            leaf = self._signer.leaf(
                key.public_key(), "waypost control plane", CONTROL_PLANE, now=now, life=SERVER_LIFE, names=names
            )
            write_atomically(key_at, certificates.private_pem(key))
            write_atomically(at, certificates.pem(leaf) + self.roots)
            write_atomically(self._directory / ROOTS, self.roots)
        return Identity.load(self._directory)

    def issue(self, certificate_request: bytes, edge_server: str, *, now: float) -> str:
        """A certificate for the agent of `edge_server` (its id), PEM, leaf first and root last.

        certificate_request: PKCS #10, DER; only its public key is read, after its signature proved that the sender
        holds the private one. Raises Invalid (BAD_CERTIFICATE_REQUEST).
        """
        key, name = requested_key(certificate_request), agent_name(edge_server)
        leaf = self._signer.leaf(key, edge_server, name, now=now, life=self._agent_life)
        return (certificates.pem(leaf) + self.roots).decode()

    def agent(self, certificate: x509.Certificate) -> AgentCertificate:
        """What an agent's certificate says, expired or not. Raises Denied (NOT_AN_AGENT).

        It must be directly under the root: what an agent signs itself makes nobody an agent.
        """
        key = certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and self._signer.has_signed(certificate):
            for uri in certificates.uris(certificate):
                if edge_server := edge_server_of(uri):
                    return AgentCertificate(f"edgeServers/{edge_server}", Life.of(certificate), key)
        raise Denied(
            "NOT_AN_AGENT", "the caller's certificate is not an agent's", "enrol the edge server with a join token"
        )

    def refuse_all_but_control_planes(self, certificate: x509.Certificate) -> None:
        """Raises Denied (NOT_A_PEER) unless it is a control plane's, directly under the root."""
        if CONTROL_PLANE not in certificates.uris(certificate) or not self._signer.has_signed(certificate):
            hint = "agents have no business there"
            raise Denied("NOT_A_PEER", "the caller's certificate is not a control plane's", hint)

    def _still_good(self, at: Path, key_at: Path, names: Sequence[str], now: float) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(at.read_bytes())
            key = certificates.read_key(key_at.read_bytes())
        except (ValueError, TypeError):
            return False
        covered = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        return (
            self._signer.has_signed(leaf)
            and key.public_key() == leaf.public_key()  # a kill between the two writes leaves a new key and an old leaf
            and covered.issuperset(map(certificates.general_name, names))
            and now < Life.of(leaf).renew_at(luck_of(leaf))
        )


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
    root = certificates.new_root("waypost root", now=now, life=ROOT_LIFE)
    write_atomically(key_at, certificates.private_pem(root.key))
    write_atomically(at, certificates.pem(root.certificate))


def _load_signer(at: Path, key_at: Path) -> Signer:
    missing = [str(path) for path in (at, key_at) if not path.exists()]
    if missing:
        raise Precondition(
            "IDENTITY_INCOMPLETE",
            f"the authority's {' and '.join(missing)} is missing",
            "restore it from a backup, or remove the whole identity directory and let every edge server join again",
        )
    try:
        certificate = x509.load_pem_x509_certificate(at.read_bytes())
        key = certificates.read_key(key_at.read_bytes())
    except (ValueError, TypeError) as error:
        raise Precondition("BAD_AUTHORITY", f"{at} or {key_at} cannot be read: {error}", "give PEM files") from error
    if key.public_key() != certificate.public_key():
        raise Precondition(
            "BAD_AUTHORITY", f"{key_at} is not the EC key of {at}", "give a certificate and the key that belongs to it"
        )
    return Signer(certificate, key)
