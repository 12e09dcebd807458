"""Who this agent is: all that it was given when it joined, in one file that is replaced as a whole.

    <data_dir>/identity/   enrolment.json   key, certificate and roots, the edge server, and where to call
                           joining.pem      the key of a join under way

One file, because a certificate is worth nothing without its key: a kill at any moment leaves the old pair or the new
one. Of an agent's two keys, the one that it shows to the control plane is new with each renewal; the other one, with
which it certifies its monitors and hosts (authority.py), lasts until it joins anew.

A join is different, because its token takes only the key that it has seen first: that key is on the disk before the
token is used. Agents before this one kept key, certificate and roots in files of their own; these are read, and removed
when the file is first written anew.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography import x509

from edge_agent.machine.storage import storage_errors
from mesh import certificates
from mesh.certificates import Life, luck_of, pin
from mesh.files import private_directory, write_atomically
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity

FACTS, JOINING = "enrolment.json", "joining.pem"


@dataclass(frozen=True)
class Enrolment:
    """Who this agent is."""

    identity: Identity
    edge_server: str
    """Full name."""
    link_address: str
    """`host:port`, as the control plane told it."""
    api_address: str
    """`host:port` where it was enrolled; empty: nobody wrote it down."""
    api_roots: bytes
    """PEM of what to check that address by."""
    joined_with: str
    """sha256 of the join token, hex; empty: nobody wrote it down."""
    authority_key: bytes = b""
    """PEM. Certifies what runs here; empty: an agent before this one had none."""
    authority_certificate: bytes = b""
    """PEM, of that key; empty where the control plane has signed none."""

    @cached_property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.identity.certificate)

    @property
    def life(self) -> Life:
        return Life.of(self.leaf)

    @property
    def trusted_roots(self) -> list[str]:
        """sha256 of each root's public key, in the order that they were given in."""
        return [pin(root) for root in x509.load_pem_x509_certificates(self.identity.roots)]

    @property
    def renew_at(self) -> float:
        """Seconds since the epoch."""
        return self.life.renew_at(luck_of(self.leaf))


class EnrolmentFile:
    """In the identity's directory. Methods raise Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> Enrolment | None:
        """None where this agent has never joined."""
        path = self._directory / FACTS
        with storage_errors(path):
            if not path.exists():
                return None
            facts = json.loads(path.read_text())
            identity = _identity(facts) if "certificate" in facts else Identity.load(self._directory)
        return Enrolment(
            identity,
            facts["edge_server"],
            facts["link_address"],
            facts.get("api_address", ""),
            facts.get("api_roots", "").encode() or identity.roots,
            facts.get("joined_with", ""),
            facts.get("authority_key", "").encode(),
            facts.get("authority_certificate", "").encode(),
        )

    def keep(self, enrolment: Enrolment) -> None:
        """Durable when it returns."""
        identity = enrolment.identity
        facts = {
            "edge_server": enrolment.edge_server,
            "link_address": enrolment.link_address,
            "api_address": enrolment.api_address,
            "api_roots": enrolment.api_roots.decode(),
            "joined_with": enrolment.joined_with,
            "certificate": identity.certificate.decode(),
            "key": identity.key.decode(),
            "roots": identity.roots.decode(),
            "authority_key": enrolment.authority_key.decode(),
            "authority_certificate": enrolment.authority_certificate.decode(),
        }
        path = self._directory / FACTS
        with storage_errors(path):
            write_atomically(path, json.dumps(facts, indent=1).encode())
            for name in (JOINING, KEY, CERTIFICATE, ROOTS):
                (self._directory / name).unlink(missing_ok=True)

    def joining_key(self) -> bytes:
        """PEM of the key to join with; made at the first call, and kept until the join has succeeded."""
        path = self._directory / JOINING
        with storage_errors(path):
            private_directory(self._directory)
            if not path.exists():
                write_atomically(path, certificates.private_pem(certificates.new_key()))
            return path.read_bytes()


def new_authority_key() -> bytes:
    """PEM."""
    return certificates.private_pem(certificates.new_key())


def _identity(facts: dict[str, str]) -> Identity:
    return Identity(facts["certificate"].encode(), facts["key"].encode(), facts["roots"].encode())
