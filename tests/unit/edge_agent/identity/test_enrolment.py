"""The file that says who an agent is: the old pair or the new one, whatever happens in between."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.identity.authority import Authority
from edge_agent.identity.enrolment import FACTS, JOINING, Enrolment, EnrolmentFile
from mesh import certificates
from mesh.identity import CERTIFICATE, KEY, ROOTS, Identity

NOW = 1_800_000_000.0
DAY_S = 86400.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "authority", now=NOW)


def enrolment(authority: Authority) -> Enrolment:
    key = certificates.new_key()
    chain = authority.issue(certificates.request_for(key), "tower-7", now=NOW)
    identity = Identity(chain.encode(), certificates.private_pem(key), authority.roots)
    return Enrolment(identity, "edgeServers/tower-7", "cp:7601", "cp:7600", authority.roots, "5e" * 32)


def test_what_was_kept_is_read_again_and_is_closed_to_everybody_else(tmp_path: Path, authority: Authority) -> None:
    file = EnrolmentFile(tmp_path)
    assert file.read() is None
    kept = enrolment(authority)
    file.keep(kept)
    assert EnrolmentFile(tmp_path).read() == kept
    assert stat.S_IMODE((tmp_path / FACTS).stat().st_mode) == 0o600


def test_the_certificate_says_when_it_is_renewed(authority: Authority) -> None:
    kept = enrolment(authority)
    assert kept.life.expires == NOW + 30 * DAY_S
    assert 13.5 * DAY_S <= kept.renew_at - NOW <= 16.5 * DAY_S


def test_a_renewal_that_was_killed_leaves_the_pair_before_it(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before = EnrolmentFile(tmp_path), enrolment(authority)
    file.keep(before)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)  # everything before the rename has happened
        with pytest.raises(KeyboardInterrupt):
            file.keep(enrolment(authority))
    assert file.read() == before


def test_the_key_of_a_join_stays_the_same_until_the_join_has_succeeded(tmp_path: Path, authority: Authority) -> None:
    file = EnrolmentFile(tmp_path / "identity")
    first = file.joining_key()
    assert EnrolmentFile(tmp_path / "identity").joining_key() == first
    assert stat.S_IMODE((tmp_path / "identity" / JOINING).stat().st_mode) == 0o600
    file.keep(enrolment(authority))
    assert file.joining_key() != first


def test_what_an_older_agent_kept_is_read_and_goes_with_the_first_renewal(tmp_path: Path, authority: Authority) -> None:
    kept = enrolment(authority)
    files = {CERTIFICATE: kept.identity.certificate, KEY: kept.identity.key, ROOTS: kept.identity.roots}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / FACTS).write_text(json.dumps({"edge_server": kept.edge_server, "link_address": kept.link_address}))
    file = EnrolmentFile(tmp_path)
    known = file.read()
    assert known == replace(kept, api_address="", joined_with="")
    file.keep(known)
    assert file.read() == known
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [FACTS]
