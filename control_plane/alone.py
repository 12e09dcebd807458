"""What only one control plane may have: its data directory, and a store that is a file."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.store.database import sqlite_file
from waypost.errors import Precondition


def store_url(database_url: str, data_dir: Path) -> str:
    """The store that is meant, where only a data directory may have been named."""
    return database_url or f"sqlite:///{data_dir}/store.db"


@contextmanager
def only_process(data_dir: Path, url: str) -> Iterator[None]:
    """Holds both until the end of the block: two would write over one another. Raises Precondition."""
    with _locked(data_dir / "control-plane.lock", lambda holder: _directory_in_use(data_dir, holder)):
        file = sqlite_file(url)
        if file is None:
            yield
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with _locked(file.with_name(f"{file.name}.lock"), lambda holder: _store_in_use(file, holder)):
            yield


@contextmanager
def _locked(path: Path, refusal: Callable[[str], Precondition]) -> Iterator[None]:
    """refusal: from the holder's pid."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise refusal(path.read_text().strip()) from error
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _directory_in_use(data_dir: Path, holder: str) -> Precondition:
    return Precondition(
        "DATA_DIR_IN_USE",
        f"{data_dir} is used by another control plane (pid {holder})",
        "stop it, or choose another --data-dir",
    )


def _store_in_use(file: Path, holder: str) -> Precondition:
    return Precondition(
        "STORE_IN_USE",
        f"{file} is used by another control plane (pid {holder}), and SQLite is for one alone",
        "stop it; several control planes share a PostgreSQL database, named by --database-url",
    )
