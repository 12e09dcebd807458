"""Disks of a few megabytes that can be full: file systems in memory, mounted over a component's directory."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIZE_MB = 256  # an edge server's models and logs take some 20


class CannotMount(Exception):
    """Only root may."""


@dataclass(frozen=True, slots=True)
class Disk:
    directory: Path

    @property
    def _ballast(self) -> Path:
        return self.directory / "ballast"

    def fill(self) -> None:
        """To the last byte: the next write of anybody fails with ENOSPC."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(os.sysconf("SC_PAGE_SIZE")))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(directory: Path) -> Iterator[Disk]:
    """A disk at `directory`, which is made. Raises: CannotMount."""
    directory.mkdir(mode=0o700, parents=True)
    options = f"size={SIZE_MB}m,mode=700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "waypost-chaos", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotMount(done.stderr.strip())
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=False)
