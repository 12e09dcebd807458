"""One root follows the other, and a kill between any two writes leaves one to go on from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from control_plane.identity import roots as under_test
from control_plane.identity.authority import Authority
from control_plane.identity.roots import RootFiles
from control_plane.root_rotation import RootRotation
from control_plane.store import open_stores
from mesh import certificates
from mesh.certificates import is_directly_under, pin
from mesh.clock import RandomIds
from tests.unit.control_plane.scenario import scenario
from waypost.errors import Precondition

NOW = 1_800_000_000.0


def issued(authority: Authority) -> x509.Certificate:
    chain = authority.issue(certificates.request_for(certificates.new_key()), "tower-7", now=NOW)
    return x509.load_pem_x509_certificate(chain.encode())


def chain_of(authority: Authority) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.identity(["localhost"], now=NOW).certificate)


def test_the_new_root_signs_at_once_and_both_are_trusted_until_the_end(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    old, of_before = authority.certificates[0], issued(authority)
    authority.rotate(now=NOW)
    new, beside = authority.certificates
    assert (beside, authority.pins) == (old, [pin(new), pin(old)])
    assert authority.pin == pin(new)
    assert is_directly_under(issued(authority), new)
    assert authority.agent(of_before).edge_server == "edgeServers/tower-7"
    authority.finish_rotation()
    assert authority.certificates == (new,)
    with pytest.raises(Exception, match="not an agent's"):
        authority.agent(of_before)


def test_a_server_shows_to_whoever_trusts_the_old_root_only_a_way_to_it(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    before = chain_of(authority)
    authority.rotate(now=NOW)
    leaf, bridge, new, old = chain_of(authority)
    assert old == before[-1]
    assert is_directly_under(leaf, bridge)
    assert is_directly_under(leaf, new)
    assert is_directly_under(bridge, old)
    assert bridge.not_valid_after_utc <= old.not_valid_after_utc
    authority.finish_rotation()
    assert chain_of(authority)[1:] == [new]


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    for step in (lambda: authority.rotate(now=NOW), authority.finish_rotation):
        step()
        again = Authority.open(tmp_path, now=NOW)
        assert again.roots == authority.roots
        assert chain_of(again) == chain_of(authority)


@pytest.mark.parametrize("writes", range(4))
def test_a_kill_between_any_two_writes_leaves_a_root_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    authority.rotate(now=NOW)
    both, new = authority.pins, authority.pin
    left, write = writes, under_test.write_atomically

    def killed(path: Path, data: bytes) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(under_test, "write_atomically", killed)
        if writes < 3:
            with pytest.raises(KeyboardInterrupt):
                authority.finish_rotation()
        else:
            patch.setattr(Path, "unlink", lambda path: None)  # killed before the last step of all
            authority.finish_rotation()
    after = Authority.open(tmp_path, now=NOW)
    assert after.pins == (both if writes == 0 else [new])
    if writes:
        assert not (tmp_path / "ca-rotation.json").exists()


def test_steps_out_of_order_are_refused(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    with pytest.raises(Precondition) as refused:
        authority.finish_rotation()
    assert refused.value.reason == "NO_ROTATION"
    authority.rotate(now=NOW)
    with pytest.raises(Precondition) as refused:
        authority.rotate(now=NOW)
    assert refused.value.reason == "ROOT_ROTATES"


def test_a_rotation_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    Authority.open(tmp_path, now=NOW)
    (tmp_path / "ca-rotation.json").write_text(json.dumps({"certificate": "nonsense"}))
    with pytest.raises(Precondition, match=r"ca-rotation\.json cannot be read"):
        Authority.open(tmp_path, now=NOW)


def test_an_operators_file_names_all_roots_and_the_first_one_signs(tmp_path: Path) -> None:
    old, new = (Authority.open(tmp_path / name, now=NOW) for name in ("old", "new"))
    (tmp_path / "both.pem").write_bytes(new.roots + old.roots)
    files = RootFiles(tmp_path / "ours", tmp_path / "both.pem", tmp_path / "new/ca.key")
    assert files.open(NOW).pins == [new.pin, old.pin]
    for step in (lambda: files.rotate(NOW), files.finish):
        with pytest.raises(Precondition) as refused:
            step()
        assert refused.value.reason == "ROOT_FROM_OUTSIDE"


@scenario
async def test_a_root_of_which_others_have_copies_is_not_replaced_by_one_of_them_alone(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path, now=NOW)
    before = authority.pins
    async with open_stores("sqlite://") as stores:
        shared: Any = replace(stores, is_shared=True)
        unused: Any = None
        with pytest.raises(Precondition) as refused:
            RootRotation(authority, unused, shared, unused, RandomIds()).begin()
    assert refused.value.reason == "ROOT_SHARED"
    assert authority.pins == before
