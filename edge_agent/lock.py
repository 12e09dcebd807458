"""One agent per data directory."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from waypost.errors import Precondition


def take_lock(path: Path) -> int:
    """Takes the lock for as long as this process lives; the file says who holds it. Returns the open file.

    The kernel lets go of it when the process has ended: whoever finds it free finds nothing of the agent left.
    Raises: Precondition(AGENT_RUNNING).
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Precondition(
            "AGENT_RUNNING",
            f"{path.parent} is used by another agent (pid {holder(path) or 'unknown'})",
            "stop it, or choose another --data-dir",
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def holder(path: Path) -> int | None:
    """Process id of the agent that holds the lock; None where nobody does."""
    with suppress(OSError, ValueError), open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read())
    return None
