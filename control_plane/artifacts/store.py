"""Files, named by what is in them: `<data_dir>/artifacts/sha256/<hex>`.

A file stands under its digest only after all of its bytes were checked and are on disk, so that whoever finds it may
use it without looking again. What is on its way lies in `incoming/` beside it:

    incoming/<hex>            of a fetch: kept when the wire breaks, and the next fetch goes on where it ended
    incoming/<hex>.<random>   of an upload: gone with its call, and with the process at the next start

Reading may overlap with anything: a stored file is never changed, and nothing here removes one. Disk work runs in
threads, hashing included (hashlib lets go of the interpreter), so that the event loop never waits for a disk.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Self
from weakref import WeakValueDictionary

from mesh.files import sync_directory
from waypost.errors import DataLoss, Exhausted, Invalid, NotFound, OutOfRange, Unavailable

PIECE_BYTES_MAX = 256 << 10  # what one message of a read carries: far below gRPC's 4 MiB, far above its overhead
ARTIFACT_BYTES_MAX = 64 << 30  # no model for the edge is larger; a wrong size must not fill the disk first

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")

Pieces = Callable[[int], AsyncGenerator[bytes, None]]
"""The bytes of an artifact from an offset on."""


def check_digest(digest: str) -> str:
    """The hex part of `sha256:<64 hex digits>`. Raises Invalid (BAD_DIGEST)."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise Invalid("BAD_DIGEST", f"{digest!r} is not a digest", "write it as sha256: and 64 lower-case hex digits")
    return match[1]


class ArtifactStore:
    """One directory of artifacts. May be used by any number of tasks at once, of one process."""

    def __init__(self, directory: Path) -> None:
        self._stored = directory / "sha256"
        self._incoming = directory / "incoming"
        self._fetches: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def open(self) -> Self:
        """Makes the directories, and clears what uploads of a killed process left behind."""
        for directory in (self._stored, self._incoming):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._incoming.glob("*.*"):
            leftover.unlink()
        return self

    def path(self, digest: str) -> Path:
        """Where the artifact lies. Raises NotFound (ARTIFACT_NOT_FOUND)."""
        path = self._stored / check_digest(digest)
        if not path.exists():
            raise NotFound("ARTIFACT_NOT_FOUND", f"artifact {digest} is not stored here", digest=digest)
        return path

    def has(self, digest: str) -> bool:
        return (self._stored / check_digest(digest)).exists()

    def size_bytes(self, digest: str) -> int:
        """Raises NotFound."""
        return self.path(digest).stat().st_size

    async def read(self, digest: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Pieces of at most PIECE_BYTES_MAX from `offset` on; none at the very end.

        Raises NotFound, OutOfRange (OFFSET_BEYOND_END).
        """
        path = self.path(digest)
        size = path.stat().st_size
        if not 0 <= offset <= size:
            raise OutOfRange(
                "OFFSET_BEYOND_END", f"offset {offset} is outside of artifact {digest}, which has {size} bytes"
            )
        with path.open("rb") as file:
            file.seek(offset)
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES_MAX):
                yield piece

    async def write(self, digest: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None:
        """Stores an upload; nothing of it is kept unless all of it is right. A stored artifact is left as it is.

        Raises DataLoss (SIZE_MISMATCH, DIGEST_MISMATCH), Exhausted (DISK_FULL), Invalid.
        """
        check_size(size_bytes)
        if self.has(digest):
            return
        incoming = _Incoming(self._incoming / f"{check_digest(digest)}.{secrets.token_hex(4)}", digest, size_bytes)
        try:
            await incoming.receive(pieces)
            await asyncio.to_thread(incoming.store, self._stored)
        finally:
            incoming.discard()

    async def fetch(self, digest: str, size_bytes: int, pieces: Pieces) -> None:
        """Makes the artifact present, going on where an earlier fetch was cut off.

        pieces: called with the first byte wanted. What it raises passes through, and what came until then is kept.
        Raises DataLoss, Exhausted as `write` does: nothing is kept then.
        """
        check_size(size_bytes)
        async with self._fetches.setdefault(digest, asyncio.Lock()):
            while not self.has(digest):
                await self._fetch(digest, size_bytes, pieces)

    async def _fetch(self, digest: str, size_bytes: int, pieces: Pieces) -> None:
        """Raises DataLoss only over bytes that came in one go: what an earlier process left may be torn."""
        incoming = _Incoming(self._incoming / check_digest(digest), digest, size_bytes)
        held = await asyncio.to_thread(incoming.resume)
        try:
            async with aclosing(pieces(held)) as rest:
                await incoming.receive(rest)
            await asyncio.to_thread(incoming.store, self._stored)
        except DataLoss:
            incoming.discard()
            if held == 0:
                raise
        except Exhausted:
            incoming.discard()
            raise
        finally:
            incoming.close()


class _Incoming:
    """A file on its way: what was received so far, and its running digest."""

    def __init__(self, path: Path, digest: str, size_bytes: int) -> None:
        self._path = path
        self._digest = digest
        self._size_bytes = size_bytes
        self._hash = hashlib.sha256()
        self._received_bytes = 0
        self._file: BinaryIO | None = None

    def resume(self) -> int:
        """Takes up what an earlier fetch left; returns how many bytes that are."""
        with disk_explained(self._path):
            self._file = self._path.open("a+b")
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES_MAX):
            self._hash.update(piece)
            self._received_bytes += len(piece)
        if self._received_bytes > self._size_bytes:  # of a source that once named another size
            self._file.truncate(0)
            self._hash, self._received_bytes = hashlib.sha256(), 0
        return self._received_bytes

    async def receive(self, pieces: AsyncIterator[bytes]) -> None:
        async for piece in pieces:
            await asyncio.to_thread(self._append, piece)

    def _append(self, piece: bytes) -> None:
        self._received_bytes += len(piece)
        if self._received_bytes > self._size_bytes:
            raise self._wrong_size("more")
        self._hash.update(piece)
        with disk_explained(self._path):
            if self._file is None:
                self._file = self._path.open("xb")
            self._file.write(piece)

    def store(self, directory: Path) -> None:
        """Checks all of it, makes it durable and gives it its name."""
        if self._received_bytes < self._size_bytes:
            raise self._wrong_size("fewer")
        if f"sha256:{self._hash.hexdigest()}" != self._digest:
            raise DataLoss(
                "DIGEST_MISMATCH",
                f"the bytes sent for {self._digest} have the digest sha256:{self._hash.hexdigest()}",
                "publish the file again, or name the digest of the bytes that are meant",
                digest=self._digest,
            )
        with disk_explained(self._path):
            if self._file is None:  # an artifact of no bytes
                self._file = self._path.open("xb")
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o400)
            os.fsync(self._file.fileno())
            os.replace(self._path, directory / self._digest.removeprefix("sha256:"))
            sync_directory(directory)

    def _wrong_size(self, which: str) -> DataLoss:
        return DataLoss(
            "SIZE_MISMATCH",
            f"{which} bytes came for {self._digest} than the {self._size_bytes} that were named",
            "name the size of the bytes that are meant",
            digest=self._digest,
        )

    def close(self) -> None:
        if self._file is not None:
            # Closing flushes: on a full disk that fails again, and the reason has been told already.
            with contextlib.suppress(OSError):
                self._file.close()

    def discard(self) -> None:
        """Leaves nothing behind; harmless after `store`."""
        self.close()
        self._path.unlink(missing_ok=True)


def check_size(size_bytes: int) -> None:
    """Raises Invalid (BAD_SIZE)."""
    if not 0 <= size_bytes <= ARTIFACT_BYTES_MAX:
        raise Invalid("BAD_SIZE", f"size_bytes must be 0..{ARTIFACT_BYTES_MAX}, got {size_bytes}")


@contextlib.contextmanager
def disk_explained(path: Path, then: str = "what was sent is not kept, send it again then") -> Iterator[None]:
    """Turns what a disk answers when `path` is written into Exhausted (DISK_FULL) or Unavailable (DISK_FAILED).

    then: for the hint, what becomes of it once there is space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Exhausted(
                "DISK_FULL",
                f"no space left for {path.parent}",
                f"free disk space or move data_dir to a larger disk; {then}",
            ) from error
        raise Unavailable(
            "DISK_FAILED",
            f"{path} cannot be written: {error.strerror}",
            "see that the disk of data_dir is there, writable and healthy",
        ) from error
