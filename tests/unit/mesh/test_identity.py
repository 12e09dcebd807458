"""Certificates from files: what cannot be used says which file it is, and nobody is asked for anything."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from mesh import identity
from tests import certificates

PROTOCOLS = ("http/1.1", "h2")


def test_a_server_needs_no_roots(tmp_path: Path) -> None:
    certificates.for_localhost(tmp_path)
    (tmp_path / identity.ROOTS).unlink()
    identity.server_context(tmp_path, PROTOCOLS)
    assert not identity.Identity.of_server(tmp_path).is_local


@pytest.mark.parametrize("name", [identity.CERTIFICATE, identity.KEY])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (certificates.for_localhost(tmp_path) / name).unlink()
    with pytest.raises(OSError, match=name):
        identity.server_context(tmp_path, PROTOCOLS)


def test_a_key_behind_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    path = certificates.for_localhost(tmp_path) / identity.KEY
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(OSError, match="passphrase"):
        identity.server_context(tmp_path, PROTOCOLS)
