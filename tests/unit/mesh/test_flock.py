"""Locks are taken by one, and looked at by many without getting into its way."""

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import flock

LOOK_S = 0.05  # far longer than any look is


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The same file, opened twice."""
    ours, theirs = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_one_takes_it_and_the_other_sees_that_it_is_taken(files: tuple[int, int]) -> None:
    ours, theirs = files
    assert not flock.is_taken(theirs)
    assert flock.take(ours)
    assert flock.is_taken(theirs)
    assert not flock.take(theirs)


def test_who_has_looked_has_let_go(files: tuple[int, int]) -> None:
    ours, theirs = files
    assert not flock.is_taken(theirs)
    fcntl.flock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_takes_it_outlasts_a_look_that_is_under_way(files: tuple[int, int]) -> None:
    ours, theirs = files
    fcntl.flock(theirs, fcntl.LOCK_SH)
    end = threading.Timer(LOOK_S, fcntl.flock, (theirs, fcntl.LOCK_UN))
    end.start()
    assert flock.take(ours)
    end.join()
    assert flock.is_taken(theirs)


def test_a_look_that_does_not_end_is_not_waited_for_for_ever(
    files: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flock, "LOOKS_S", LOOK_S)
    ours, theirs = files
    fcntl.flock(theirs, fcntl.LOCK_SH)
    assert not flock.take(ours)


def test_many_who_look_keep_nobody_from_taking_it(files: tuple[int, int]) -> None:
    ours, theirs = files
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            flock.is_taken(theirs)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            assert flock.take(ours)
            fcntl.flock(ours, fcntl.LOCK_UN)
    finally:
        over.set()
        looking.join()
