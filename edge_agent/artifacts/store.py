"""Model versions on this edge server: artifacts by digest (blobs.py), laid out as the packages that hosts load.

    versions/<digest, 16 hex digits>/manifest.json     ProtoJSON of control.v1.ModelVersion
    versions/<digest, 16 hex digits>/<path>            hard link to the artifact

A package appears whole or not at all: it is built beside its place and renamed into it. A failure harms nothing that
runs: hosts keep the files that they opened, whatever happens to the names.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog
from google.protobuf.json_format import MessageToJson

from edge_agent.artifacts.blobs import Blobs
from edge_agent.machine.storage import delete, set_aside, storage_errors
from mesh.files import private_directory, sync_directory, write_atomically
from mesh.packages import MANIFEST, is_path, version_digest
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.errors import DataLoss, Exhausted, Invalid

log = structlog.get_logger()

_UNFINISHED = ".new"


class Artifacts:
    """Packages of model versions."""

    def __init__(self, directory: Path, blobs: Blobs) -> None:
        self._directory = directory
        self._blobs = blobs
        self.crowded = asyncio.Event()
        """Set when there was no room for a version: perhaps something else can go. Cleared by whoever sweeps."""

    def package(self, digest: str) -> Path:
        """Where the version's package is, or would be."""
        return self._directory / digest.removeprefix("sha256:")[:16]

    async def ensure(self, version: ModelVersion) -> Path:
        """The version's package, its artifacts verified. Raises what Blobs.ensure does, and Invalid(BAD_PATH)."""
        _check(version)
        try:
            files = {artifact.path: await self._blobs.ensure(artifact) for artifact in version.artifacts}
            package, manifest = self.package(version.digest), MessageToJson(version, sort_keys=True).encode()
            with storage_errors(package):
                if not _complete(package, files, manifest):
                    self._build(package, files, manifest)
        except Exhausted:
            self.crowded.set()
            raise
        return package

    async def sweep(self, keep: Iterable[ModelVersion]) -> None:
        """Removes everything but what these versions consist of, and what is being fetched.

        Only the deletion, which may take long, leaves the event loop: nobody begins to use what is on its way out.
        Raises: Unavailable(STORAGE_FAILED).
        """
        versions = list(keep)
        digests = {artifact.digest for version in versions for artifact in version.artifacts}
        with storage_errors(self._directory):
            gone = set_aside([*self._unneeded(versions), *self._blobs.unneeded(digests)])
        if gone:
            log.info("artifacts_removed", names=[path.name for path in gone])
            await asyncio.to_thread(delete, gone)

    def _unneeded(self, keep: Iterable[ModelVersion]) -> list[Path]:
        names = {self.package(version.digest).name for version in keep}
        return [path for path in self._directory.iterdir() if path.name not in names]

    def _build(self, package: Path, files: Mapping[str, Path], manifest: bytes) -> None:
        """It has its name when all of it is on the disk: a power cut may keep a rename and lose what was renamed."""
        unfinished = package.with_suffix(_UNFINISHED)
        shutil.rmtree(unfinished, ignore_errors=True)
        private_directory(unfinished)
        for path, blob in files.items():
            place = unfinished / path
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(blob, place)
        write_atomically(unfinished / MANIFEST, manifest, mode=0o644)
        for directory, _, _ in os.walk(unfinished, topdown=False):
            sync_directory(Path(directory))
        _replace_directory(unfinished, package)
        sync_directory(self._directory)


def _check(version: ModelVersion) -> None:
    """Paths become paths of ours, and the digest is what replies will carry: both are looked at closely."""
    for artifact in version.artifacts:
        if not is_path(artifact.path):
            raise Invalid(
                "BAD_PATH",
                f"{version.name} has an artifact with the path {artifact.path!r}",
                f"publish it with paths inside the package, and none called {MANIFEST}",
            )
    if (digest := version_digest(version.artifacts)) != version.digest:
        raise DataLoss(
            "DIGEST_MISMATCH",
            f"{version.name} says that it is {version.digest}, its artifacts make it {digest}",
            "publish the version again; nothing of it was loaded",
        )


def _complete(package: Path, files: Mapping[str, Path], manifest: bytes) -> bool:
    """Whether the package holds these very files, and the manifest whole: a blob that was fetched anew is another file,
    and what an agent before this one wrote may be torn.
    """
    with contextlib.suppress(OSError):
        linked = all((package / path).samefile(blob) for path, blob in files.items())
        return linked and (package / MANIFEST).read_bytes() == manifest
    return False


def _replace_directory(new: Path, place: Path) -> None:
    """rename(2) replaces empty directories only."""
    if place.exists():
        old = place.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(place, old)
        os.rename(new, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(new, place)
