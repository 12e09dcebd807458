"""What a disk says, as errors that a person can act on; and how something large leaves it."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waypost.errors import Exhausted, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_GONE = ".gone"


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


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Gives files and directories names that nobody looks for, at once; returns what may be deleted in its own time.

    What was set aside before and never deleted may be among `paths`. What cannot be renamed stays as it is.
    """
    aside = []
    for path in paths:
        place = path.with_name(path.name.removesuffix(_GONE) + _GONE)
        with suppress(OSError):
            os.rename(path, place)
            aside.append(place)
    return aside


def delete(paths: Iterable[Path]) -> None:
    """Files, and directories with all that is in them, as far as the disk lets us; blocks for as long as it needs."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
