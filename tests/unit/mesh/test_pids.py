"""What the kernel says of a process: read, and of this very process."""

import fcntl
import os
from pathlib import Path

import pytest

from mesh import pids


def page(name: str, state: str = "S", threads: int = 1) -> str:
    return f"71 ({name}) {state} 1 70 69 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 {threads} 0 123456 0 0\n"


@pytest.mark.parametrize("name", ["sh", "a b", "x) R 1 2 (y", ""])
def test_a_name_may_hold_anything(name: str) -> None:
    assert pids.parse(page(name)) == pids.Stat(71, "S", 70, 1, 123456)


@pytest.mark.parametrize("text", ["", "71", "71 (sh)", "71 (sh) S 1 70", page("sh").replace("123456", "soon")])
def test_what_was_torn_is_no_page(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        pids.parse(text)


@pytest.mark.parametrize(
    ("state", "threads", "ended"), [("S", 1, False), ("Z", 1, True), ("X", 0, True), ("Z", 2, False)]
)
def test_one_that_is_not_buried_has_ended_unless_its_threads_go_on(state: str, threads: int, *, ended: bool) -> None:
    assert pids.parse(page("sh", state, threads)).ended == ended


def test_this_process_is_seen_among_its_group() -> None:
    seen = pids.look(os.getpid())
    assert seen is not None
    assert (seen.pid, seen.group, seen.ended) == (os.getpid(), os.getpgrp(), False)
    assert os.getpid() in {member.pid for member in pids.members(os.getpgrp())}


def test_an_id_of_nobody_is_nobody() -> None:
    assert pids.look(1 << 30) is None
    assert list(pids.members(1 << 30)) == []
    assert not pids.holds(1 << 30, Path("/dev/null"))


def test_only_who_holds_the_lock_holds_it_and_not_who_has_it_open_or_shares_it(tmp_path: Path) -> None:
    lock, other = tmp_path / "lock", tmp_path / "other"
    with open(lock, "w") as file, open(other, "w") as another:
        assert not pids.holds(os.getpid(), lock)
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not pids.holds(os.getpid(), lock)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert pids.holds(os.getpid(), lock)
        fcntl.flock(another, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_UN)
        assert not pids.holds(os.getpid(), lock)
