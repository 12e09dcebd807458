"""The agent as an authority for its own edge server: it certifies its monitors and hosts, with or without an uplink.

The control plane has signed the agent's key as an authority below its root, constrained to the names of this edge
server (mesh/certificates.py), and does so anew with each renewal. Leaves live for a day and are made here, so nobody
waits for the control plane.

    root ── signs ──▶ this agent's authority ── signs ──▶ the agent itself, monitors, hosts      shown: leaf, authority
                                                                                                 trusted: the roots

Expiry never stops what serves here, and a clock that is wrong does not either. Where the authority's certificate does
not outlive the next leaf (the control plane was away for too long, its root may make no authorities, the clock went
back), the agent vouches for itself: it signs its key itself, under the same constraints and without an end, and adds
that to what its own monitors and hosts trust. With the next renewal it is gone from there. Nobody else ever trusts it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509

from edge_agent.identity.enrolment import Enrolment
from mesh import certificates
from mesh.certificates import BACKDATED, Life, Signer, luck_of
from mesh.identity import Identity
from mesh.spiffe import authority_title, edge_domain
from waypost import names


@dataclass(frozen=True, slots=True)
class Backing:
    """What stands behind a leaf, in PEM."""

    shown: bytes
    """With it: the authority, where the control plane has signed it."""
    trusted: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate that was made here."""

    identity: Identity
    life: Life
    renew_at: float
    """Seconds since the epoch."""
    backing: Backing


class LinkAuthority:
    """life: of a leaf. now: seconds since the epoch."""

    def __init__(self, enrolment: Enrolment, life: timedelta, now: Callable[[], float]) -> None:
        self.edge_server = names.leaf(enrolment.edge_server)
        """Its id."""
        self._life = life
        self._now = now
        self.follow(enrolment)

    def follow(self, enrolment: Enrolment) -> None:
        """From now on this is what the control plane has signed, and whom it trusts."""
        title, domain = authority_title(self.edge_server), edge_domain(self.edge_server)
        self._key = certificates.read_key(enrolment.authority_key)
        self._stand_in = certificates.self_signed_authority(self._key, title, domain)
        self._certificate = enrolment.authority_certificate
        self._good = _validity(self._certificate)
        self._roots = enrolment.identity.roots

    def backing(self) -> Backing:
        """Of leaves that are made now."""
        trusted = self._roots if self._is_vouched_for() else self._roots + certificates.pem(self._stand_in)
        return Backing(self._certificate, trusted)

    def issue(self, spiffe: str, dns: str) -> Leaf:
        """For a new key. spiffe, dns: names below this edge server (mesh/spiffe.py)."""
        key, backing = certificates.new_key(), self.backing()
        signer = Signer(self._stand_in, self._key)  # of the same name and key as the other one
        certificate = signer.leaf(key.public_key(), dns, spiffe, now=self._now(), life=self._life, names=[dns])
        shown = certificates.pem(certificate) + backing.shown
        identity, life = Identity(shown, certificates.private_pem(key), backing.trusted), Life.of(certificate)
        return Leaf(identity, life, life.renew_at(luck_of(certificate)), backing)

    def is_due(self, leaf: Leaf) -> bool:
        """Whether it is time for another one: half of its life is over, it is dated ahead, or others are trusted."""
        is_young = leaf.life.issued - BACKDATED.total_seconds() <= self._now() < leaf.renew_at
        return not is_young or leaf.backing != self.backing()

    def _is_vouched_for(self) -> bool:
        """Whether the control plane's signature holds for longer than a leaf that is made now."""
        begins, ends = self._good
        now = self._now()
        return begins <= now and now + self._life.total_seconds() <= ends


def _validity(pem: bytes) -> tuple[float, float]:
    """From when to when, in seconds since the epoch; never where there is no certificate."""
    if not pem:
        return math.inf, -math.inf
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
