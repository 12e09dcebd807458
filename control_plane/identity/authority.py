"""The root of this mesh, and what was signed with it.

The control plane keeps a root of its own, made at its first start and replaced when somebody says so (roots.py), and
signs two kinds of leaves with it: its own server certificate (API port and link port) and one for each edge server that
enrols, under the names of mesh/spiffe.py. With the latter goes an authority for that edge server's names, by which its
agent certifies its monitors and hosts itself. Nothing else is ever signed here.

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

from control_plane.artifacts.store import disk_explained
from control_plane.identity.roots import RootFiles, Roots
from mesh import certificates
from mesh.certificates import Life, is_directly_under, luck_of
from mesh.files import write_atomically, write_where_other
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity
from mesh.spiffe import CONTROL_PLANE, agent_name, authority_title, edge_domain, edge_server_of
from waypost.errors import Denied, Invalid

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

    def __init__(self, files: RootFiles, roots: Roots, agent_life: timedelta) -> None:
        self._directory = files.directory
        self._files = files
        self._roots = roots
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
        files = RootFiles(directory, certificate, key)
        return cls(files, files.open(now), agent_life)

    @property
    def roots(self) -> bytes:
        """PEM of what everyone in this mesh trusts, the signing root first."""
        return certificates.pem(*self._roots.trusted)

    @property
    def certificates(self) -> Sequence[x509.Certificate]:
        """The same."""
        return self._roots.trusted

    @property
    def pins(self) -> list[str]:
        """sha256 of each root's SubjectPublicKeyInfo, hex, in the same order."""
        return self._roots.pins

    @property
    def pin(self) -> str:
        """Of the one that signs: what a join token carries."""
        return self.pins[0]

    @property
    def from_outside(self) -> bool:
        """Whether the root is a file of the operator's."""
        return self._files.from_outside

    def rotate(self, *, now: float) -> None:
        """From now on a new root signs, and the one before is trusted beside it. Raises: as RootFiles.rotate."""
        self._roots = self._files.rotate(now)

    def finish_rotation(self) -> None:
        """From now on only the one that signs is trusted. Raises: as RootFiles.finish."""
        self._roots = self._files.finish()

    def identity(self, names: Sequence[str], *, now: float) -> Identity:
        """The control plane's own identity, with `names` (DNS names and IP addresses) in its certificate.

        Signed anew when a name is missing, when half its life is over or when the roots are others; what is there and
        right is not written again. Raises Exhausted (DISK_FULL), Unavailable (DISK_FAILED).
        """
        at, key_at = self._directory / CERTIFICATE, self._directory / KEY
        with disk_explained(self._directory / CERTIFICATE, "the certificate is renewed then"):
            if not (at.exists() and key_at.exists() and self._still_good(at, key_at, names, now)):
                self._renew(at, key_at, names, now)
            write_where_other(self._directory / ROOTS, self.roots)
            return Identity.load(self._directory)

    def _renew(self, at: Path, key_at: Path, names: Sequence[str], now: float) -> None:
        key = certificates.new_key()
        leaf = self._roots.signer.leaf(
            key.public_key(), "waypost control plane", CONTROL_PLANE, now=now, life=SERVER_LIFE, names=names
        )
        write_atomically(key_at, certificates.private_pem(key))
        write_atomically(at, certificates.pem(leaf) + self._roots.shown)

    def issue(self, certificate_request: bytes, edge_server: str, *, now: float) -> str:
        """A certificate for the agent of `edge_server` (its id), PEM, leaf first and root last.

        certificate_request: PKCS #10, DER; only its public key is read, after its signature proved that the sender
        holds the private one. Raises Invalid (BAD_CERTIFICATE_REQUEST).
        """
        key, name = requested_key(certificate_request), agent_name(edge_server)
        signer = self._roots.signer
        leaf = signer.leaf(key, edge_server, name, now=now, life=self._agent_life)
        return certificates.pem(leaf, signer.certificate).decode()

    def issue_authority(self, certificate_request: bytes, edge_server: str, *, now: float) -> str:
        """A certificate to sign with for monitors and hosts of `edge_server` (its id), and for nobody else, PEM.

        Empty where the root is the operator's and may not make authorities. Raises Invalid (BAD_CERTIFICATE_REQUEST).
        """
        key, signer = requested_key(certificate_request), self._roots.signer
        if not signer.may_make_authorities:
            return ""
        name, domain = authority_title(edge_server), edge_domain(edge_server)
        return certificates.pem(signer.authority(key, name, domain, now=now, life=self._agent_life)).decode()

    def agent(self, certificate: x509.Certificate) -> AgentCertificate:
        """What an agent's certificate says, expired or not. Raises Denied (NOT_AN_AGENT).

        It must be directly under a root: what an agent signs itself makes nobody an agent.
        """
        key = certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey) and self._is_under_a_root(certificate):
            for uri in certificates.uris(certificate):
                if edge_server := edge_server_of(uri):
                    return AgentCertificate(f"edgeServers/{edge_server}", Life.of(certificate), key)
        raise Denied(
            "NOT_AN_AGENT", "the caller's certificate is not an agent's", "enrol the edge server with a join token"
        )

    def refuse_all_but_control_planes(self, certificate: x509.Certificate) -> None:
        """Raises Denied (NOT_A_PEER) unless it is a control plane's, directly under a root."""
        if CONTROL_PLANE not in certificates.uris(certificate) or not self._is_under_a_root(certificate):
            hint = "agents have no business there"
            raise Denied("NOT_A_PEER", "the caller's certificate is not a control plane's", hint)

    def _is_under_a_root(self, certificate: x509.Certificate) -> bool:
        return any(is_directly_under(certificate, root) for root in self._roots.trusted)

    def _still_good(self, at: Path, key_at: Path, names: Sequence[str], now: float) -> bool:
        try:
            chain = at.read_bytes()
            leaf = x509.load_pem_x509_certificate(chain)
            key = certificates.read_key(key_at.read_bytes())
        except (ValueError, TypeError):
            return False
        covered = set(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        return (
            self._roots.signer.has_signed(leaf)
            and chain == certificates.pem(leaf) + self._roots.shown
            and key.public_key() == leaf.public_key()  # a kill between the two writes leaves a new key and an old leaf
            and covered.issuperset(map(certificates.general_name, names))
            and now < Life.of(leaf).renew_at(luck_of(leaf))
        )


def requested_key(certificate_request: bytes, field: str = "certificate_request") -> ec.EllipticCurvePublicKey:
    """The public key of a PKCS #10 request (DER), proven to be the sender's. Raises Invalid, which names the field."""
    hint = "send a DER encoded PKCS #10 request with an EC P-256 key, signed with that key"
    if not 0 < len(certificate_request) <= CERTIFICATE_REQUEST_BYTES_MAX:
        raise Invalid(
            "BAD_CERTIFICATE_REQUEST",
            f"{field} must hold 1..{CERTIFICATE_REQUEST_BYTES_MAX} bytes, got {len(certificate_request)}",
            hint,
        )
    try:
        request = x509.load_der_x509_csr(certificate_request)
        key, genuine = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError) as error:
        raise Invalid("BAD_CERTIFICATE_REQUEST", f"{field} cannot be read: {error}", hint) from error
    if not genuine:
        raise Invalid("BAD_CERTIFICATE_REQUEST", f"{field} is not signed with the key it carries", hint)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("BAD_CERTIFICATE_REQUEST", f"{field} carries a key that is not EC P-256", hint)
    return key
