"""The agent as an authority: what lies on the disk for whom, when it is made anew, and who vouches for it."""

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from control_plane.identity.authority import AGENT_LIFE, Authority
from edge_agent.drivers.base import MONITOR
from edge_agent.identity.authority import LinkAuthority
from edge_agent.identity.enrolment import Enrolment, new_authority_key
from edge_agent.identity.local_links import SocketLinks, TlsLinks
from edge_agent.machine.layout import Layout
from edge_agent.position.record import Record
from mesh import certificates, clock
from mesh.certificates import luck_of
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity
from mesh.spiffe import host_dns, host_name, monitor_dns, monitor_name
from tests.unit.edge_agent.rig import POSITION, UID

NOW = 1_800_000_000.0
DAY_S = 86400.0
RECORD = Record(UID, POSITION, UID[:8], monitor_port=7701)
R = "r-000001"
LEAF = timedelta(days=1)


class Box:
    """An enrolled agent whose clock is the test's."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.control_plane = Authority.open(directory / "authority", now=NOW - 365 * DAY_S)
        key, self.authority_key = certificates.new_key(), new_authority_key()
        chain = self.control_plane.issue(certificates.request_for(key), "tower-7", now=NOW)
        identity = Identity(chain.encode(), certificates.private_pem(key), self.control_plane.roots)
        self.enrolment = Enrolment(identity, "edgeServers/tower-7", "cp:1", "cp:2", b"", "", self.authority_key)
        self.authority = LinkAuthority(self.enrolment, LEAF, lambda: self.now)
        self.layout = Layout(directory / "data", directory / "run")
        self.layout.create()

    def renew(self) -> None:
        """The control plane signs the agent's authority."""
        request = certificates.request_for(certificates.read_key(self.authority_key))
        signed = self.control_plane.issue_authority(request, "tower-7", now=self.now).encode()
        identity = replace(self.enrolment.identity, roots=self.control_plane.roots)
        self.enrolment = replace(self.enrolment, identity=identity, authority_certificate=signed)
        self.authority.follow(self.enrolment)

    @property
    def vouches_for_itself(self) -> bool:
        return self.authority.backing().trusted != self.control_plane.roots


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture
def links(box: Box, monkeypatch: pytest.MonkeyPatch) -> TlsLinks:
    monkeypatch.setattr(clock, "now", lambda: box.now)
    box.renew()
    return TlsLinks(box.authority, "10.0.0.7:7690", "tower-7.example")


def paths(box: Box) -> dict[str, Path]:
    home = box.layout.position(UID, UID[:8])
    return {id_: home.identity(id_) for id_ in (MONITOR, R)}


def certify(links: TlsLinks | SocketLinks, box: Box, *ids: str) -> None:
    links.certify(RECORD, box.layout.position(UID, UID[:8]), ids)


def names(directory: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_each_process_gets_a_certificate_in_its_own_name_closed_to_everybody_else(box: Box, links: TlsLinks) -> None:
    certify(links, box, R)
    at = paths(box)
    assert names(at[MONITOR]) == {monitor_name("tower-7", UID), monitor_dns("tower-7", UID)}
    assert names(at[R]) == {host_name("tower-7", UID, R), host_dns("tower-7", UID, R)}
    for directory in at.values():
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / KEY).stat().st_mode) == 0o600
        assert (directory / ROOTS).read_bytes() == box.control_plane.roots
        _, authority = x509.load_pem_x509_certificates((directory / CERTIFICATE).read_bytes())
        assert certificates.is_directly_under(authority, box.control_plane.certificates[0])


def test_a_certificate_is_made_anew_at_half_of_its_life_and_not_before(box: Box, links: TlsLinks) -> None:
    certify(links, box, R)
    first = (paths(box)[R] / CERTIFICATE).read_bytes()
    due_s = links.due_in_s(UID)
    assert 0.45 * DAY_S <= due_s <= 0.55 * DAY_S
    box.now += due_s - 1
    certify(links, box, R)
    assert (paths(box)[R] / CERTIFICATE).read_bytes() == first
    box.now = NOW + 0.56 * DAY_S
    certify(links, box, R)
    assert (paths(box)[R] / CERTIFICATE).read_bytes() != first
    assert links.due_in_s(UID) > 0.4 * DAY_S


def test_what_was_removed_is_made_again_and_what_is_of_nobody_is_removed(box: Box, links: TlsLinks) -> None:
    certify(links, box, R)
    (paths(box)[R] / ROOTS).unlink()
    certify(links, box, R)
    assert (paths(box)[R] / ROOTS).exists()
    certify(links, box)
    assert paths(box)[MONITOR].exists()
    assert not paths(box)[R].exists()
    certify(SocketLinks(), box, R)
    assert not paths(box)[MONITOR].parent.exists()


def test_all_certificates_follow_when_the_root_is_replaced(box: Box, links: TlsLinks) -> None:
    certify(links, box, R)
    box.control_plane.rotate(now=NOW)
    box.renew()
    certify(links, box, R)
    for directory in paths(box).values():
        assert (directory / ROOTS).read_bytes() == box.control_plane.roots
        _, authority = x509.load_pem_x509_certificates((directory / CERTIFICATE).read_bytes())
        assert certificates.is_directly_under(authority, box.control_plane.certificates[0])


@pytest.fixture(scope="module")
def renewed_once(tmp_path_factory: pytest.TempPathFactory) -> Box:
    box = Box(tmp_path_factory.mktemp("box"))
    box.renew()
    return box


@given(st.floats(-400 * DAY_S, 400 * DAY_S))
def test_whatever_the_clock_shows_somebody_vouches_for_a_leaf_for_as_long_as_it_lives(
    renewed_once: Box, later_s: float
) -> None:
    box = renewed_once
    box.now = NOW + later_s
    leaf = box.authority.issue(monitor_name("tower-7", UID), monitor_dns("tower-7", UID))
    trusted = x509.load_pem_x509_certificates(leaf.identity.roots)
    certificate, *shown = x509.load_pem_x509_certificates(leaf.identity.certificate)
    vouching = [
        each
        for each in (*shown, *trusted)
        if certificates.is_directly_under(certificate, each)
        and each.not_valid_before_utc.timestamp() <= box.now
        and each.not_valid_after_utc.timestamp() >= leaf.life.expires
    ]
    assert vouching
    good_for_s = AGENT_LIFE.total_seconds() - LEAF.total_seconds()
    assert box.vouches_for_itself == (not -3600 <= later_s <= good_for_s)


def test_an_agent_whose_control_plane_signs_no_authorities_vouches_for_itself(box: Box) -> None:
    assert box.vouches_for_itself
    assert box.authority.backing().shown == b""
    box.renew()
    assert not box.vouches_for_itself


def test_a_leaf_of_before_is_due_when_the_clock_has_gone_back_or_others_are_trusted(box: Box) -> None:
    box.renew()
    leaf = box.authority.issue(monitor_name("tower-7", UID), monitor_dns("tower-7", UID))
    assert not box.authority.is_due(leaf)
    box.now = NOW - 2 * 3600
    assert box.authority.is_due(leaf)
    box.now = leaf.renew_at - 1
    assert not box.authority.is_due(leaf)
    box.now = leaf.renew_at
    assert box.authority.is_due(leaf)
    assert leaf.renew_at == leaf.life.renew_at(luck_of(x509.load_pem_x509_certificate(leaf.identity.certificate)))


def test_the_driver_is_told_where_everybody_dials_and_hosts_are_replaced_when_that_changes(
    box: Box, links: TlsLinks
) -> None:
    plan = links.plan(RECORD)
    assert plan is not None
    assert (plan.edge_server, plan.agent) == ("tower-7", "tower-7.example:7690")
    assert (plan.monitor, plan.monitor_listen) == ("tower-7.example:7701", "10.0.0.7:7701")
    assert links.plan(replace(RECORD, monitor_port=0)) is None
    variants = {SocketLinks().variant("v"), links.variant("v"), TlsLinks(box.authority, "[::1]:7690", "").variant("v")}
    assert len(variants) == 3
    assert SocketLinks().variant("v") == "v"
