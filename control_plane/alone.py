"""What only one control plane may have: its data directory, and a store that is a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.store.database import sqlite_file
from mesh import locks
from waypost.errors import Precondition


def store_url(database_url: str, data_dir: Path) -> str:
    """The store that is meant, where only a data directory may have been named."""
    return database_url or f"sqlite:///{data_dir}/store.db"


@contextmanager
def only_process(data_dir: Path, url: str) -> Iterator[None]:
    """Holds both until the end of the block: two would write over one another. Raises Precondition."""
    with locks.held(data_dir / "control-plane.lock", lambda pid: _directory_in_use(data_dir, pid)):
        file = sqlite_file(url)
        if file is None:
            yield
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with locks.held(file.with_name(f"{file.name}.lock"), lambda pid: _store_in_use(file, pid)):
            yield


def _directory_in_use(data_dir: Path, pid: int | None) -> Precondition:
    return Precondition(
        "DATA_DIR_IN_USE",
        f"{data_dir} is used by another control plane (pid {pid or 'unknown'})",
        "stop it, or choose another --data-dir",
    )


def _store_in_use(file: Path, pid: int | None) -> Precondition:
    return Precondition(
        "STORE_IN_USE",
        f"{file} is used by another control plane (pid {pid or 'unknown'}), and SQLite is for one alone",
        "stop it; several control planes share a PostgreSQL database, named by --database-url",
    )
