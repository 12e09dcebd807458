"""The root, the control plane's own certificate, and those of agents."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from control_plane.identity.authority import SERVER_LIFE, Authority
from mesh.certificates import Life, pin
from mesh.spiffe import agent_name, edge_server_of
from waypost.errors import Denied, Invalid, Precondition

NOW = 1_800_000_000.0
LIFE_S = SERVER_LIFE.total_seconds()


def leaf_of(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def alternative_names(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_the_first_start_makes_a_root_and_the_next_one_finds_it(tmp_path: Path) -> None:
    first = Authority.open(tmp_path / "identity", now=NOW)
    second = Authority.open(tmp_path / "identity", now=NOW + 60)
    assert second.roots == first.roots
    assert second.pin == first.pin == pin(leaf_of(first.roots))


def test_keys_are_closed_to_everybody_else(tmp_path: Path) -> None:
    Authority.open(tmp_path / "identity", now=NOW).identity(["localhost"], now=NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "identity").iterdir()}
    assert modes["ca.key"] == modes["key.pem"] == 0o600
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700


def test_a_kill_between_key_and_root_is_mended_by_the_next_start(tmp_path: Path) -> None:
    tmp_path.joinpath("ca.key").write_text("half of it")
    assert Authority.open(tmp_path, now=NOW).pin


def test_a_root_without_its_key_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Authority.open(tmp_path, now=NOW)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(Precondition, match=r"ca\.key is missing") as refused:
        Authority.open(tmp_path, now=NOW)
    assert refused.value.reason == "IDENTITY_INCOMPLETE"


def test_an_authority_of_the_operator_signs_instead_of_ours(tmp_path: Path) -> None:
    theirs = Authority.open(tmp_path / "theirs", now=NOW)
    files = {"certificate": tmp_path / "theirs/ca.pem", "key": tmp_path / "theirs/ca.key"}
    ours = Authority.open(tmp_path / "ours", now=NOW, **files)
    assert ours.roots == theirs.roots
    assert not (tmp_path / "ours/ca.pem").exists()


def test_an_authority_with_somebody_elses_key_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Authority.open(tmp_path / name, now=NOW)
    with pytest.raises(Precondition) as refused:
        Authority.open(tmp_path, now=NOW, certificate=tmp_path / "a/ca.pem", key=tmp_path / "b/ca.key")
    assert refused.value.reason == "BAD_AUTHORITY"


def test_the_server_certificate_carries_its_names_and_shows_the_root(tmp_path: Path) -> None:
    identity = Authority.open(tmp_path, now=NOW).identity(["localhost", "127.0.0.1", "::1"], now=NOW)
    leaf, root = x509.load_pem_x509_certificates(identity.certificate)
    leaf.verify_directly_issued_by(root)
    assert alternative_names(leaf) == {"spiffe://waypost/control-plane", "localhost", "127.0.0.1", "::1"}
    assert identity.roots == root.public_bytes(Encoding.PEM)


def test_the_server_certificate_is_kept_while_it_is_good(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    first = authority.identity(["localhost"], now=NOW)
    assert authority.identity(["localhost"], now=NOW + 0.4 * LIFE_S) == first
    assert authority.identity(["localhost"], now=NOW + 0.6 * LIFE_S) != first


def test_the_server_certificate_is_made_anew_for_a_new_name_or_a_lost_key(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    first = authority.identity(["localhost"], now=NOW)
    second = authority.identity(["localhost", "waypost.example"], now=NOW)
    assert second != first
    stranger = ec.generate_private_key(ec.SECP256R1())
    pem = stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)  # as after a kill between the two writes
    third = authority.identity(["localhost", "waypost.example"], now=NOW)
    assert third.key != pem
    assert third.certificate != second.certificate


def test_an_agent_gets_the_name_of_its_edge_server_whatever_it_asked_for(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    chain = authority.issue(request(ec.generate_private_key(ec.SECP256R1())), "tower-7", now=NOW)
    leaf, root = x509.load_pem_x509_certificates(chain.encode())
    leaf.verify_directly_issued_by(root)
    assert alternative_names(leaf) == {"spiffe://tower-7.waypost/agent"}
    assert leaf.subject.rfc4514_string() == "CN=tower-7"
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_agents_certificate_lives_as_long_as_was_asked_for(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW, agent_life=timedelta(days=3))
    chain = authority.issue(request(ec.generate_private_key(ec.SECP256R1())), "tower-7", now=NOW)
    assert Life.of(leaf_of(chain.encode())) == Life(NOW, NOW + 3 * 86400)


def test_an_agent_is_known_by_what_the_root_itself_has_signed(tmp_path: Path) -> None:
    authority, other = (Authority.open(tmp_path / name, now=NOW) for name in ("ours", "theirs"))
    key = ec.generate_private_key(ec.SECP256R1())
    known = authority.agent(leaf_of(authority.issue(request(key), "tower-7", now=NOW).encode()))
    assert known.edge_server == "edgeServers/tower-7"
    assert known.key == key.public_key()
    for stranger in (
        leaf_of(other.issue(request(key), "tower-7", now=NOW).encode()),
        leaf_of(authority.identity(["localhost"], now=NOW).certificate),
        leaf_of(authority.roots),
    ):
        with pytest.raises(Denied) as refused:
            authority.agent(stranger)
        assert refused.value.reason == "NOT_AN_AGENT"


@pytest.mark.parametrize("sent", [b"", b"nonsense", b"\x30" * 20_000])
def test_what_is_no_certificate_request_is_refused(tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        Authority.open(tmp_path, now=NOW).issue(sent, "tower-7", now=NOW)
    assert refused.value.reason == "BAD_CERTIFICATE_REQUEST"


def test_a_request_signed_with_another_key_is_refused(tmp_path: Path) -> None:
    sent = bytearray(request(ec.generate_private_key(ec.SECP256R1())))
    sent[-1] ^= 1
    with pytest.raises(Invalid, match=r"not signed with the key|cannot be read"):
        Authority.open(tmp_path, now=NOW).issue(bytes(sent), "tower-7", now=NOW)


def test_only_keys_on_p256_are_signed(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not EC P-256"):
        Authority.open(tmp_path, now=NOW).issue(request(rsa.generate_private_key(65537, 2048)), "tower-7", now=NOW)


def test_only_agents_names_lead_to_an_edge_server() -> None:
    assert edge_server_of(agent_name("tower-7")) == "tower-7"
    for other in (
        "spiffe://waypost/control-plane",
        "spiffe://waypost/agent",
        "spiffe://.waypost/agent",
        "spiffe://tower-7.waypost/monitor",
        "spiffe://tower-7.example/agent",
        "spiffe://a.tower-7.waypost.evil/agent",
        "tower-7.waypost/agent",
        "",
    ):
        assert edge_server_of(other) is None
