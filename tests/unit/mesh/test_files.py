"""What is removed is gone, and nothing beside it."""

import os
from pathlib import Path

from mesh.files import remove_tree


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
