"""Files that one process may hold."""

import os
from pathlib import Path

import pytest

from mesh import locks
from waypost.errors import Precondition


def refusal(pid: int | None) -> Precondition:
    return Precondition("HELD", f"it is held by {pid}")


def test_who_holds_a_file_is_named_to_whoever_wants_it_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.held(path, refusal):
        assert locks.holder(path) == os.getpid()
        with pytest.raises(Precondition, match=f"held by {os.getpid()}"), locks.held(path, refusal):
            pass
    assert locks.holder(path) is None
    with locks.held(path, refusal):
        pass


def test_what_stands_in_a_file_that_nobody_holds_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert locks.holder(path) is None
    path.write_text("1\n" + "longer than a process id")
    assert locks.holder(path) is None
    with locks.held(path, refusal):
        assert locks.holder(path) == os.getpid()
