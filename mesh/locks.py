"""Files that one process may hold at a time: a data directory, a store, a platform on this machine.

The lock is the kernel's (flock), which lets go of it when the process has ended, however that came about: whoever finds
it free finds nothing left of the one before. The file says who holds it; without the lock it says nothing.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mesh import flock
from waypost.errors import MeshError

Refusal = Callable[[int | None], MeshError]
"""From the holder's process id; None where it has not written it down yet."""


@contextmanager
def held(path: Path, refusal: Refusal) -> Iterator[None]:
    """Holds the lock until the end of the block. Raises: what `refusal` gives where another one holds it."""
    descriptor = take(path, refusal)
    try:
        yield
    finally:
        os.close(descriptor)


def take(path: Path, refusal: Refusal) -> int:
    """The same for as long as this process lives, or until what is returned, the open file, is closed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not flock.take(descriptor):
        os.close(descriptor)
        raise refusal(holder(path))
    ours = f"{os.getpid()}\n".encode()
    os.pwrite(descriptor, ours, 0)  # in place: a disk that is full might not give back what was let go of
    os.ftruncate(descriptor, len(ours))
    return descriptor


def holder(path: Path) -> int | None:
    """Id of the process that holds the lock; None where nobody does."""
    with suppress(OSError, ValueError), open(path) as file:
        if flock.is_taken(file.fileno()):
            return int(file.read())
    return None
