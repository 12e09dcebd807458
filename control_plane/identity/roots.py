"""The roots that are trusted and the one that signs, as they lie on the disk; and how one follows the other.

    ca.pem, ca.key    the root; while it is being replaced, the one before
    ca-rotation.json  while it is being replaced: the new root with its key, and the bridge

From its first moment on the new root signs. Whoever trusts only the one before is not cut off by that: servers show a
*bridge* beside their certificate, which is the new root's name and key signed by the root before ("new with old",
RFC 4210, section 4.4), so that either root vouches for them. Both are trusted until the rotation is finished.

Each step is one atomic write. Finishing first notes that it is meant, in ca-rotation.json, and then moves the new root
into the place of the old one; a start that finds the note goes on from there.

A root of the operator's own comes from files that we never write: its file names all roots to trust, the signing one
first, and is rotated by giving another file.
"""

import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from mesh import certificates
from mesh.certificates import Signer, pin
from mesh.files import private_directory, write_atomically
from waypost.errors import Precondition

ROOT_LIFE = timedelta(days=3650)  # replaced by a person; ten years outlive the machine
ROTATION, FINISHED = "ca-rotation.json", "finished"


@dataclass(frozen=True, slots=True)
class Roots:
    """Who signs, and who is trusted besides."""

    signer: Signer
    others: tuple[x509.Certificate, ...] = ()
    bridge: tuple[x509.Certificate, ...] = ()
    """The signer's name and key under a root before it: none or one."""

    @property
    def trusted(self) -> tuple[x509.Certificate, ...]:
        """The signing one first."""
        return (self.signer.certificate, *self.others)

    @property
    def pins(self) -> list[str]:
        return [pin(certificate) for certificate in self.trusted]

    @property
    def shown(self) -> bytes:
        """PEM of what a server shows behind its own certificate. The bridge comes first: who looks for the issuer
        takes the first that fits, and from the root itself no way leads to the one before."""
        return certificates.pem(*self.bridge, *self.trusted)


@dataclass(frozen=True, slots=True)
class RootFiles:
    """certificate, key: the operator's own files instead of those in `directory` (PEM, EC)."""

    directory: Path
    certificate: Path | None = None
    key: Path | None = None

    @property
    def _at(self) -> Path:
        return self.certificate or self.directory / "ca.pem"

    @property
    def _key_at(self) -> Path:
        return self.key or self.directory / "ca.key"

    @property
    def from_outside(self) -> bool:
        return self.certificate is not None or self.key is not None

    def open(self, now: float) -> Roots:
        """As they are; made where there are none. Raises Precondition (IDENTITY_INCOMPLETE, BAD_AUTHORITY)."""
        private_directory(self.directory)
        if self.from_outside:
            return _load(self._at, self._key_at)
        if not self._at.exists():
            self._write(certificates.new_root("waypost root", now=now, life=ROOT_LIFE))
        rotation = self._rotation()
        if rotation is not None and FINISHED in rotation:
            return self._finish(_signer(rotation))
        before = _load(self._at, self._key_at)
        if rotation is None:
            return before
        bridge = x509.load_pem_x509_certificate(rotation["bridge"].encode())
        return Roots(_signer(rotation), before.trusted, (bridge,))

    def rotate(self, now: float) -> Roots:
        """A new root beside the one there is. Raises Precondition (ROOT_FROM_OUTSIDE, ROOT_ROTATES)."""
        self._refuse_outside()
        if self._rotation() is not None:
            message = "the root is being replaced already"
            raise Precondition("ROOT_ROTATES", message, "see `waypost authority status`, then `finish` it")
        before = _load(self._at, self._key_at)
        # A name of its own: verifiers look for issuers by name before they look at keys.
        after = certificates.new_root(f"waypost root {secrets.token_hex(4)}", now=now, life=ROOT_LIFE)
        bridge = before.signer.vouch_for(after.certificate)
        self._note(
            {
                "certificate": certificates.pem(after.certificate).decode(),
                "key": certificates.private_pem(after.key).decode(),
                "bridge": certificates.pem(bridge).decode(),
            }
        )
        return Roots(after, before.trusted, (bridge,))

    def finish(self) -> Roots:
        """Only the new one is left. Raises Precondition (ROOT_FROM_OUTSIDE, NO_ROTATION)."""
        self._refuse_outside()
        rotation = self._rotation()
        if rotation is None:
            raise Precondition("NO_ROTATION", "the root is not being replaced", "`waypost authority rotate` begins it")
        self._note(rotation | {FINISHED: "yes"})
        return self._finish(_signer(rotation))

    def _finish(self, root: Signer) -> Roots:
        self._write(root)
        (self.directory / ROTATION).unlink()
        return Roots(root)

    def _write(self, root: Signer) -> None:
        """The key first: a certificate without its key would be taken for a finished root."""
        write_atomically(self._key_at, certificates.private_pem(root.key))
        write_atomically(self._at, certificates.pem(root.certificate))

    def _note(self, rotation: dict[str, str]) -> None:
        write_atomically(self.directory / ROTATION, json.dumps(rotation).encode())

    def _rotation(self) -> dict[str, str] | None:
        path = self.directory / ROTATION
        if not path.exists():
            return None
        try:
            noted: dict[str, str] = json.loads(path.read_bytes())
            _signer(noted)
        except (ValueError, KeyError) as error:
            message = f"{path} cannot be read: {error}"
            raise Precondition("BAD_AUTHORITY", message, "restore it from a backup") from error
        return noted

    def _refuse_outside(self) -> None:
        if self.from_outside:
            raise Precondition(
                "ROOT_FROM_OUTSIDE",
                f"the root is the operator's own, from {self._at}",
                "rotate it where it was made, and give other files: see docs/identity.md",
            )


def _signer(rotation: dict[str, str]) -> Signer:
    certificate = x509.load_pem_x509_certificate(rotation["certificate"].encode())
    return Signer(certificate, certificates.read_key(rotation["key"].encode()))


def _load(at: Path, key_at: Path) -> Roots:
    missing = [str(path) for path in (at, key_at) if not path.exists()]
    if missing:
        raise Precondition(
            "IDENTITY_INCOMPLETE",
            f"the authority's {' and '.join(missing)} is missing",
            "restore it from a backup, or remove the whole identity directory and let every edge server join again",
        )
    try:
        signing, *others = x509.load_pem_x509_certificates(at.read_bytes())
        key = certificates.read_key(key_at.read_bytes())
    except (ValueError, TypeError) as error:
        raise Precondition("BAD_AUTHORITY", f"{at} or {key_at} cannot be read: {error}", "give PEM files") from error
    if key.public_key() != signing.public_key():
        raise Precondition(
            "BAD_AUTHORITY", f"{key_at} is not the EC key of {at}", "give a certificate and the key that belongs to it"
        )
    return Roots(Signer(signing, key), tuple(others))
