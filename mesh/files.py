"""Files that survive a kill at any moment, and what a path may be."""

import contextlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from waypost.errors import Precondition

SOCKET_PATH_BYTES_MAX = 107
"""Of a Unix socket: sun_path has 108 bytes with its final NUL on Linux, see unix(7)."""

_TEMPORARY = ".unfinished"


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces `path`: afterwards, also after a power cut, it holds the old bytes or all of the new ones.

    Raises: OSError (ENOSPC among others); the old file is untouched then and nothing is left behind. What a kill leaves
    is for `remove_leftovers`.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(path.parent)


def write_where_other(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`write_atomically`, but for a file that holds `data` already: that asks nothing of a disk that is full.

    Raises: OSError, as `write_atomically`.
    """
    with suppress(OSError):  # what is missing or cannot be read is written
        if path.read_bytes() == data:
            return
    write_atomically(path, data, mode)


def remove_leftovers(*directories: Path) -> None:
    """Removes what `write_atomically` left where its process was killed. For whoever alone writes there, and before it
    does. What cannot be removed stays.
    """
    for directory in directories:
        for path in directory.glob(f".*{_TEMPORARY}"):
            with suppress(OSError):
                path.unlink()


def sync_directory(directory: Path) -> None:
    """Makes renames and removals inside `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_directory(path: Path) -> Path:
    """`path`, existing, ours and closed to everybody else (0700).

    Who may write above it, as everybody may in /tmp, can have put something there: that is not trusted, nor changed.
    Raises: Precondition(DIRECTORY_UNSAFE); OSError.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    found = path.lstat()
    if (wrong := _wrong(found)) is not None:
        hint = "look who has made it; remove it, or give it to the user who runs this, or choose another directory"
        raise Precondition("DIRECTORY_UNSAFE", f"{path} {wrong}", hint)
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def remove_tree(directory: Path) -> None:
    """Removes what is there as far as it can be, also folders that somebody has closed to us, who own them.

    Links are removed and not followed. Nothing where there is nothing.
    """
    with contextlib.suppress(OSError):  # a process that is on its way out may still rename things
        for folder, inner, _ in os.walk(directory):
            for path in (folder, *(os.path.join(folder, name) for name in inner)):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)  # before the walk comes to it
    shutil.rmtree(directory, ignore_errors=True)


def _wrong(found: os.stat_result) -> str | None:
    """What keeps a directory from being ours alone; None where nothing does."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link, and not the directory itself"
    if not stat.S_ISDIR(found.st_mode):
        return "is no directory"
    if found.st_uid != (ours := os.geteuid()):
        return f"belongs to user {found.st_uid}, and not to user {ours}, who runs this"
    return None
