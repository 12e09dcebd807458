"""Directories that are ours alone, or refused."""

import os
import stat
from pathlib import Path

import pytest

from mesh.files import private_directory
from waypost.errors import Precondition


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_with_all_above_it_and_closed_to_others(tmp_path: Path) -> None:
    assert mode(private_directory(tmp_path / "a" / "b")) == 0o700


def test_one_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert private_directory(tmp_path) == tmp_path
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_refused_and_what_it_leads_to_is_left_alone(tmp_path: Path, *, there: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    if there:
        target.mkdir()
        target.chmod(0o755)
    link.symlink_to(target)
    with pytest.raises(Precondition, match="is a link") as refused:
        private_directory(link)
    assert (refused.value.reason, str(link) in refused.value.message) == ("DIRECTORY_UNSAFE", True)
    assert mode(target) == 0o755 if there else not target.exists()


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    before = mode(path)
    with pytest.raises(Precondition, match="is no directory"):
        private_directory(path)
    assert mode(path) == before


def test_one_of_somebody_else_is_refused_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(Precondition, match=f"belongs to user {tmp_path.stat().st_uid}"):
        private_directory(tmp_path)
    assert mode(tmp_path) == 0o755
