"""What a disk says, as errors that a person can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waypost.errors import Exhausted, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns OSError into Exhausted(DISK_FULL) or Unavailable(STORAGE_FAILED), naming `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Exhausted(
                "DISK_FULL",
                f"no space left to write {path}",
                "free space on the edge server's disk; the agent tries again by itself",
            ) from error
        raise Unavailable(
            "STORAGE_FAILED",
            f"{path} cannot be used: {error.strerror or error}",
            "look after the edge server's disk; the agent tries again by itself",
        ) from error
