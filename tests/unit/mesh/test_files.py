"""Files are replaced as a whole, and a kill leaves nothing for good."""

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from mesh.files import remove_leftovers, remove_tree, write_atomically, write_where_other


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def kill_a_write(path: Path) -> None:
    with (
        patch.object(os, "fsync", side_effect=KeyboardInterrupt),
        patch.object(os, "unlink"),
        pytest.raises(KeyboardInterrupt),
    ):
        write_atomically(path, b"new")


def test_what_killed_writes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "page.json", b"old")
    (tmp_path / ".bashrc.original").touch()
    for _ in range(3):
        kill_a_write(tmp_path / "page.json")
    assert len(names(tmp_path)) == 5
    remove_leftovers(tmp_path, tmp_path / "there-is-none")
    assert names(tmp_path) == [".bashrc.original", "page.json"]
    assert (tmp_path / "page.json").read_bytes() == b"old"


def test_a_file_that_holds_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    write_where_other(path, b"one")
    first = path.stat()
    write_where_other(path, b"one")
    assert path.stat() == first
    write_where_other(path, b"two", mode=0o644)
    assert path.read_bytes() == b"two"


def test_closed_folders_are_removed_and_links_are_not_followed(tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir(mode=0o750)
    (beside / "file").write_bytes(b"kept")
    locked = tmp_path / "tree" / "locked" / "inner"
    locked.mkdir(parents=True)
    (locked / "file").write_bytes(b"")
    (tmp_path / "tree" / "link").symlink_to(beside)
    for folder in (locked, locked.parent, tmp_path / "tree"):
        folder.chmod(0)
    remove_tree(tmp_path / "tree")
    assert os.listdir(tmp_path) == ["beside"]
    assert (beside.stat().st_mode & 0o777, (beside / "file").read_bytes()) == (0o750, b"kept")
    remove_tree(tmp_path / "tree")
