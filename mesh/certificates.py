"""X.509 as this mesh uses it: EC P-256 keys, requests for certificates, what signs them, and when they are renewed.

The control plane signs with its root, and an agent for what it starts itself; both make the same kind of certificate:
one SPIFFE name, good for servers and clients alike, dated back by an hour because clocks at the edge run behind.

An agent signs as an authority below the root that X.509 itself holds to one edge server (name constraints, RFC 5280,
section 4.2.1.10): a TLS library that knows the root refuses whatever it signs for others, so that an edge server which
was broken into can speak for itself and for nobody else.

A certificate is renewed at half of its life, give or take a tenth of that half, so that a fleet which was enrolled in
one hour does not come back in one hour (SPIRE's rotationutil does the same). The luck in this comes from the
certificate's own serial number: whoever reads the certificate again, after a restart too, comes to the same moment.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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

BACKDATED = timedelta(hours=1)  # clocks at the edge run behind ours
JITTER = 0.1  # of half a life, either way
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""No end: RFC 5280, section 4.1.2.5. No beginning that a clock whose battery is flat could be before."""
EVERY_ADDRESS = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Life:
    """Of one certificate: from when it was signed to when it expires, in seconds since the epoch."""

    issued: float
    expires: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Self:
        issued = certificate.not_valid_before_utc + BACKDATED
        return cls(issued.timestamp(), certificate.not_valid_after_utc.timestamp())

    def renew_at(self, luck: float) -> float:
        """When to renew it: half of its life, plus or minus JITTER of that. luck: in [0, 1)."""
        half = (self.expires - self.issued) / 2
        return self.issued + half * (1 - JITTER + 2 * JITTER * luck)


def luck_of(certificate: x509.Certificate) -> float:
    """A number in [0, 1) that only this certificate has: serial numbers are random."""
    return (certificate.serial_number & 0xFFFFFFFF) / (1 << 32)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises: ValueError, TypeError (a passphrase)."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is not an EC key")
    return key


def request_for(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #10, DER, without a name: what it will be called is for whoever signs it to say."""
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """ECDSA with SHA-256, DER."""
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def is_signed(data: bytes, given: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether `given` is the signature of `data` by the holder of `key`."""
    try:
        key.verify(given, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def key_sha256(key: ec.EllipticCurvePublicKey) -> str:
    """sha256 of its SubjectPublicKeyInfo, hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pin(certificate: x509.Certificate) -> str:
    """sha256 of a certificate's SubjectPublicKeyInfo, hex (RFC 7469, section 2.4, in hex instead of base64)."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs among its names; empty where it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def is_directly_under(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the holder of `issuer` has signed it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A certificate that may sign, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def has_signed(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate is directly under this one."""
        return is_directly_under(certificate, self.certificate)

    def leaf(
        self,
        public_key: ec.EllipticCurvePublicKey,
        common_name: str,
        spiffe: str,
        *,
        now: float,
        life: timedelta,
        names: Sequence[str] = (),
    ) -> x509.Certificate:
        """For a server and client called `spiffe`, who is also reached by `names` (DNS names and IP addresses)."""
        sans = [x509.UniformResourceIdentifier(spiffe), *map(general_name, names)]
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._sign(
            _builder(_subject(common_name), self.certificate.subject, public_key, _span(now, life))
            .add_extension(x509.SubjectAlternativeName(sans), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        )

    def vouch_for(self, root: x509.Certificate) -> x509.Certificate:
        """Another root's name and key under ours, for as long as both are good: who trusts us reaches its leaves."""
        key = root.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        ends = min(root.not_valid_after_utc, self.certificate.not_valid_after_utc)
        return self._sign(
            _builder(root.subject, self.certificate.subject, key, (root.not_valid_before_utc, ends))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )

    @property
    def may_make_authorities(self) -> bool:
        """Whether its path length leaves room for one between it and a leaf."""
        length = self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        return length is None or length > 0

    def authority(
        self, public_key: ec.EllipticCurvePublicKey, common_name: str, domain: str, *, now: float, life: timedelta
    ) -> x509.Certificate:
        """May sign leaves whose names are in `domain`, and nothing else."""
        return self._sign(_authority(public_key, common_name, self.certificate.subject, domain, _span(now, life)))

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return builder.add_extension(ours, critical=False).sign(self.key, hashes.SHA256())


def new_root(common_name: str, *, now: float, life: timedelta) -> Signer:
    """Signs itself; may sign leaves, and authorities that sign leaves."""
    key = new_key()
    certificate = (
        _builder(_subject(common_name), _subject(common_name), key.public_key(), _span(now, life))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Signer(certificate, key)


def self_signed_authority(key: ec.EllipticCurvePrivateKey, common_name: str, domain: str) -> x509.Certificate:
    """The same authority with nobody above it, at all times: for who trusts it alone, whatever the clock shows."""
    name = _subject(common_name)
    return _authority(key.public_key(), common_name, name, domain, ALWAYS).sign(key, hashes.SHA256())


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _span(now: float, life: timedelta) -> tuple[datetime, datetime]:
    moment = datetime.fromtimestamp(now, UTC)
    return moment - BACKDATED, moment + life


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, span: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(span[0])
        .not_valid_after(span[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority(
    public_key: ec.EllipticCurvePublicKey,
    common_name: str,
    issuer: x509.Name,
    domain: str,
    span: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """Names of a kind that no constraint speaks of are free, so addresses have to be excluded."""
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.UniformResourceIdentifier(domain), x509.DNSName(domain)],
        excluded_subtrees=[x509.IPAddress(network) for network in EVERY_ADDRESS],
    )
    return (
        _builder(_subject(common_name), issuer, public_key, span)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(constraints, critical=True)
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
