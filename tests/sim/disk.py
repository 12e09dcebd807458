"""A disk that a process can be killed at between any two writes, and that forgets in a power cut what was not synced.

It stands where the operating system stands: `Place` is a pathlib path on it, `Files` what `os` and `tempfile` are to
the modules that write durably. Their code runs as it is, down to each fsync.

A killed process loses nothing that it wrote. A power cut takes the names that were changed since their directory was
last synced, from some moment on, and may tear or empty every file that was not synced itself, as ext4 does.
"""

import errno
import os
import random
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tests.sim.processes import writing


@dataclass(eq=False)
class _File:
    data: bytes = b""
    synced: bytes | None = None
    """What the disk is sure to hold; None: not even that there is a file."""


Names = dict[str, _File]


@dataclass
class Disk:
    """written: called with the name of a file that got another content under that name."""

    rng: random.Random
    written: Callable[[str], None] = lambda name: None
    full: bool = False
    broken: bool = False
    refused: int = 0
    """How many writes failed."""
    names: Names = field(default_factory=dict)
    _durable: Names = field(default_factory=dict)
    _unsynced: list[Callable[[Names], None]] = field(default_factory=list)
    """Changes of names since the last sync of a directory, oldest first."""
    _made: int = 0

    def change(self, change: Callable[[Names], None]) -> None:
        writing()
        if self.broken:
            self.refused += 1
            raise OSError(errno.EIO, "input/output error")
        change(self.names)
        self._unsynced.append(change)

    def create(self, prefix: str) -> str:
        self._refuse_full()
        self._made += 1
        name = f"{prefix}{self._made}"
        file = _File()
        self.change(lambda names: names.__setitem__(name, file))
        return name

    def write(self, file: _File, data: bytes) -> None:
        writing()
        self._refuse_full()
        file.data += data

    def sync(self, file: _File) -> None:
        writing()
        file.synced = file.data

    def sync_names(self) -> None:
        writing()
        self._durable = dict(self.names)
        self._unsynced.clear()

    def durable(self, name: str) -> bytes | None:
        """What a power cut could not take away now; None where it could take all."""
        file = self._durable.get(name)
        return file.synced if file and self.names.get(name) is file else None

    def cut_power(self) -> None:
        kept = dict(self._durable)
        for change in self._unsynced[: self.rng.randint(0, len(self._unsynced))]:
            change(kept)
        for file in kept.values():
            if file.synced != file.data:
                file.data = self.rng.choice([file.synced or b"", file.data[: len(file.data) // 2], file.data])
            file.synced = file.data
        self.names, self._durable = kept, dict(kept)
        self._unsynced.clear()

    def _refuse_full(self) -> None:
        if self.full:
            self.refused += 1
            raise OSError(errno.ENOSPC, "no space left on device")

    def root(self, path: str) -> "Place":
        """`path` on this disk."""
        return type("Place", (Place,), {"disk": self, "__slots__": ()})(path)


class Place(PurePosixPath):
    """As much of pathlib.Path as is used of one. Directories are there when something is in them."""

    disk: Disk
    __slots__ = ()

    def _file(self) -> _File:
        file = self.disk.names.get(str(self))
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))
        return file

    def exists(self) -> bool:
        return str(self) in self.disk.names

    def is_file(self) -> bool:
        return self.exists()

    def read_bytes(self) -> bytes:
        if self.disk.broken:
            raise OSError(errno.EIO, "input/output error")
        return self._file().data

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None: ...

    def chmod(self, mode: int) -> None: ...

    def lstat(self) -> os.stat_result:
        """Of a directory: ours, and closed to others."""
        return os.stat_result((stat.S_IFDIR | 0o700, 0, 0, 1, os.geteuid(), os.getegid(), 0, 0, 0, 0))

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok or self.exists():
            self._file()
            self.disk.change(lambda names: names.__delitem__(str(self)))


class _Open:
    """An open file, or an open directory."""

    def __init__(self, disk: Disk, file: _File | None) -> None:
        self.disk, self.file = disk, file

    def write(self, data: bytes) -> None:
        assert self.file is not None
        self.disk.write(self.file, data)

    def flush(self) -> None: ...

    def fileno(self) -> "_Open":
        return self

    def __enter__(self) -> "_Open":
        return self

    def __exit__(self, *_: object) -> None: ...


class Files:
    """The `os` of modules whose files lie on a Disk; for all other paths it is the real one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path | Place, flags: int, mode: int = 0o777) -> Any:
        return _Open(path.disk, None) if isinstance(path, Place) else os.open(path, flags, mode)

    def fdopen(self, descriptor: Any, mode: str) -> Any:
        return descriptor if isinstance(descriptor, _Open) else os.fdopen(descriptor, mode)

    def fchmod(self, descriptor: Any, mode: int) -> None:
        if not isinstance(descriptor, _Open):
            os.fchmod(descriptor, mode)

    def fsync(self, descriptor: Any) -> None:
        if not isinstance(descriptor, _Open):
            os.fsync(descriptor)
        elif descriptor.file is None:
            descriptor.disk.sync_names()
        else:
            descriptor.disk.sync(descriptor.file)

    def close(self, descriptor: Any) -> None:
        if not isinstance(descriptor, _Open):
            os.close(descriptor)

    def unlink(self, path: Any) -> None:
        path.unlink() if isinstance(path, Place) else os.unlink(path)

    def replace(self, source: Any, target: Any) -> None:
        if not isinstance(source, Place):
            return os.replace(source, target)
        moved, old, new = source._file(), str(source), str(target)

        def rename(names: Names) -> None:
            if names.get(old) is moved:  # in what a power cut left it may never have had its name
                names[new] = names.pop(old)

        source.disk.change(rename)
        source.disk.written(new)
        return None

    def link(self, source: Any, target: Any) -> None:
        if not isinstance(source, Place):
            return os.link(source, target)
        file, new = source._file(), str(target)
        source.disk.change(lambda names: names.__setitem__(new, file))
        return None


class Temporary:
    """The `tempfile` of the same modules."""

    def mkstemp(self, dir: Any, prefix: str, suffix: str = "") -> tuple[Any, Any]:  # noqa: A002  tempfile's own name
        if not isinstance(dir, Place):
            return tempfile.mkstemp(dir=dir, prefix=prefix, suffix=suffix)
        name = dir.disk.create(f"{dir}/{prefix}")
        return _Open(dir.disk, dir.disk.names[name]), type(dir)(name)
