"""One agent per data directory."""

from pathlib import Path

from mesh import locks
from waypost.errors import Precondition


def take_lock(path: Path) -> int:
    """Takes the lock for as long as this process lives; the file says who holds it. Returns the open file.

    Raises: Precondition(AGENT_RUNNING).
    """
    return locks.take(path, lambda pid: _agent_running(path.parent, pid))


def _agent_running(data_dir: Path, pid: int | None) -> Precondition:
    return Precondition(
        "AGENT_RUNNING",
        f"{data_dir} is used by another agent (pid {pid or 'unknown'})",
        "stop it, or choose another --data-dir",
    )
