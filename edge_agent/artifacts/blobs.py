"""Artifacts by digest: fetched once, resumed where they broke, trusted only after their sha256 was seen.

    <blobs>/<hex>            whole and verified
    <blobs>/<hex>.partial    on its way; goes on where it is

A file gets its final name after its bytes were hashed and are on the disk. It is looked at again before this process
uses it for the first time: disks forget.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog

from edge_agent.machine.storage import storage_errors
from mesh.files import sync_directory
from waypost.api.control.v1.model_pb2 import Artifact
from waypost.api.link.v1.artifact_source_pb2 import ReadArtifactRequest
from waypost.api.link.v1.artifact_source_pb2_grpc import ArtifactSourceServiceStub
from waypost.errors import DataLoss, DeadlineExceeded, MeshError, NotFound, OutOfRange, Unavailable, Unknown

log = structlog.get_logger()

STALL_S = 30.0  # without a byte: the source is given up, and asked again later for the rest
PIECE_BYTES = 1 << 20  # read at once when a file is hashed again


class Source(Protocol):
    """Where artifacts come from."""

    def read(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `offset` to the end. Raises: NotFound; OutOfRange beyond the end; Unavailable."""


class GrpcSource:
    """link.v1 ArtifactSourceService. channel: the one for the next call, of `waypost.rpc.open_aio_channel`."""

    def __init__(self, channel: Callable[[], Any]) -> None:
        self._channel = channel

    async def read(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        stub: Any = ArtifactSourceServiceStub(self._channel())
        async for piece in stub.ReadArtifact(ReadArtifactRequest(digest=digest, offset=offset)):
            yield piece.data


class FakeSource:
    """Artifacts in memory. `broken`: where a read of that digest ends early, once."""

    def __init__(self, contents: Mapping[str, bytes] | None = None) -> None:
        self.contents = dict(contents or {})
        self.broken: dict[str, int] = {}
        self.away = False
        self.reads: list[tuple[str, int]] = []

    async def read(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        self.reads.append((digest, offset))
        if self.away:
            raise Unavailable("UNAVAILABLE", "connection refused")
        if digest not in self.contents:
            raise NotFound("ARTIFACT_NOT_FOUND", f"{digest} is not stored")
        content = self.contents[digest]
        if offset > len(content):
            raise OutOfRange("OUT_OF_RANGE", f"{digest} has {len(content)} bytes")
        end = self.broken.pop(digest, len(content))
        for start in range(offset, end, 7):
            yield content[start : min(start + 7, end)]
        if end < len(content):
            raise Unavailable("UNAVAILABLE", "connection reset")


class Blobs:
    """The artifacts on this edge server."""

    def __init__(self, directory: Path, source: Source, *, bytes_max: int = 0) -> None:
        """bytes_max: quota for everything in `directory`; 0 for the disk's own limit."""
        self._directory = directory
        self._source = source
        self._bytes_max = bytes_max
        self._verified: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}
        self._coming: dict[str, int] = {}
        """Bytes of what is being fetched, when it is whole, by digest."""

    @property
    def busy(self) -> frozenset[str]:
        """Digests that are being fetched or looked at."""
        return frozenset(digest for digest, lock in self._locks.items() if lock.locked())

    def path(self, digest: str) -> Path:
        return self._directory / digest.removeprefix("sha256:")

    async def ensure(self, artifact: Artifact) -> Path:
        """The verified file. Raises: DataLoss(DIGEST_MISMATCH), Exhausted(DISK_FULL), Unavailable(SOURCE_UNREACHABLE |
        STORAGE_FAILED), NotFound(ARTIFACT_MISSING).
        """
        path = self.path(artifact.digest)
        with storage_errors(path):
            async with self._locks.setdefault(artifact.digest, asyncio.Lock()):
                if artifact.digest in self._verified and path.exists():
                    return path
                if await self._present(path, artifact):
                    return path
                with source_errors(artifact), self._room_for(artifact):
                    await self._fetch(artifact)
                self._verified.add(artifact.digest)
                return path

    def unneeded(self, keep: set[str]) -> list[Path]:
        """All files, whole or not, but those of the digests to keep and those that are being fetched."""
        names = {self.path(digest).name for digest in keep | self.busy}
        return [path for path in self._directory.iterdir() if path.name.removesuffix(".partial") not in names]

    async def _present(self, path: Path, artifact: Artifact) -> bool:
        """Whether the file is here and still what it was."""
        held = await asyncio.to_thread(_sha256, path)
        if held == artifact.digest:
            self._verified.add(artifact.digest)
            return True
        if held:
            log.error("artifact_damaged", digest=artifact.digest, path=str(path))
            os.unlink(path)
        return False

    async def _fetch(self, artifact: Artifact) -> None:
        """Raises DataLoss only over bytes that came in one go: what an earlier agent left may be torn."""
        partial = self.path(artifact.digest).with_suffix(".partial")
        held = partial.stat().st_size if partial.exists() else 0
        try:
            with open(partial, "ab+") as file:  # noqa: ASYNC230  local files: a write goes to the page cache
                await self._complete(artifact, file)
        except DataLoss as error:
            partial.unlink()
            if not held:
                raise
            log.warning("partial_given_up", digest=artifact.digest, bytes=held, why=error.message)
            await self._fetch(artifact)
            return
        os.replace(partial, self.path(artifact.digest))
        sync_directory(self._directory)
        log.info("artifact_fetched", digest=artifact.digest, bytes=artifact.size_bytes)

    async def _complete(self, artifact: Artifact, file: Any) -> None:
        """Raises: DataLoss(DIGEST_MISMATCH)."""
        seen = await asyncio.to_thread(_hash_so_far, file)
        try:
            await self._append(artifact, file, seen)
        except OutOfRange:
            raise _mismatch(artifact, "what was fetched before was longer than it") from None
        await asyncio.to_thread(_sync, file)
        if f"sha256:{seen.hexdigest()}" != artifact.digest:
            raise _mismatch(artifact, f"the bytes that came have sha256:{seen.hexdigest()}")

    async def _append(self, artifact: Artifact, file: Any, seen: Any) -> None:
        """What is missing. Bounded by the size that was promised."""
        size = file.tell()
        async with contextlib.aclosing(_unstalled(self._source.read(artifact.digest, size))) as pieces:
            async for data in pieces:
                size += len(data)
                if artifact.size_bytes and size > artifact.size_bytes:
                    raise _mismatch(artifact, f"more than its {artifact.size_bytes} bytes came")
                file.write(data)
                seen.update(data)

    @contextlib.contextmanager
    def _room_for(self, artifact: Artifact) -> Iterator[None]:
        """Holds its size inside the quota while it is fetched, as others are fetched at the same time."""
        self._coming[artifact.digest] = artifact.size_bytes
        try:
            if self._bytes_max and self._used() > self._bytes_max:
                raise OSError(errno.ENOSPC, "over the quota for artifacts")
            yield
        finally:
            del self._coming[artifact.digest]

    def _used(self) -> int:
        """Bytes of all that is here, what is on its way counted as whole."""
        coming = {self.path(digest).with_suffix(".partial").name for digest in self._coming}
        here = (path for path in self._directory.iterdir() if path.name not in coming)
        return sum(map(_size, here)) + sum(self._coming.values())


@contextlib.contextmanager
def source_errors(artifact: Artifact) -> Iterator[None]:
    """What a source says, as what an operator of the edge server needs to know."""
    try:
        yield
    except NotFound as error:
        raise NotFound(
            "ARTIFACT_MISSING",
            f"{artifact.path} ({artifact.digest}) is not stored in the control plane",
            "publish the version again",
        ) from error
    except (Unavailable, DeadlineExceeded, Unknown) as error:
        raise Unavailable(
            "SOURCE_UNREACHABLE",
            f"{artifact.path} cannot be fetched from the control plane: {error.message}",
            "it is fetched when the control plane answers again; what serves here serves on",
        ) from error


async def _unstalled(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same pieces; an end where none comes for too long."""
    try:
        while True:
            async with asyncio.timeout(STALL_S):
                piece = await anext(pieces)
            yield piece
    except StopAsyncIteration:
        return
    except TimeoutError as error:
        raise Unavailable("STALLED", f"no byte came for {STALL_S:.0f} s") from error
    finally:
        await pieces.aclose()  # ends the call


def _mismatch(artifact: Artifact, why: str) -> MeshError:
    return DataLoss(
        "DIGEST_MISMATCH",
        f"{artifact.path} is not {artifact.digest}: {why}",
        "publish the version again; nothing of it was loaded",
    )


def _hash_so_far(file: Any) -> Any:
    file.seek(0)
    seen = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        seen.update(piece)
    return seen


def _sha256(path: Path) -> str:
    """Empty where there is no such file."""
    try:
        with open(path, "rb") as file:
            return f"sha256:{_hash_so_far(file).hexdigest()}"
    except FileNotFoundError:
        return ""


def _size(path: Path) -> int:
    """0 where it has just been removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
