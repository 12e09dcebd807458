"""What makes a list of files a model version. Pure."""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from control_plane.artifacts import check_digest, check_size
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion
from waypost.errors import Invalid

ARTIFACTS_STORED, CHECKED = "ArtifactsStored", "Checked"
"""The conditions of a model version."""

MANIFEST = "manifest.json"  # the version itself, beside its files wherever they are laid out

ARTIFACTS_MAX = 256  # files of one version; its record, manifest and every assignment carry the list
PATH_CHARACTERS_MAX = 255  # below what file systems take, with room for the directory above


def version_digest(artifacts: Iterable[Artifact]) -> str:
    """The digest of a version with these artifacts: see ModelVersion.digest in model.proto."""
    lines = sorted(f"{artifact.path} {artifact.digest}\n" for artifact in artifacts)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def check_files(version: ModelVersion) -> None:
    """Judges the artifacts; all else `domain.check.check_model_version` does.

    Raises Invalid (BAD_PACKAGE, BAD_DIGEST, BAD_SIZE).
    """
    if not 1 <= len(version.artifacts) <= ARTIFACTS_MAX:
        raise _bad_package(f"a version has 1..{ARTIFACTS_MAX} files, this one has {len(version.artifacts)}")
    paths = [artifact.path for artifact in version.artifacts]
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    if len(set(paths)) < len(paths) or folders & set(paths):
        raise _bad_package("two files have the same path, or one lies where another needs a folder")
    if MANIFEST in paths:
        raise _bad_package(f"{MANIFEST} is written beside the files by us, and cannot be one of them")
    for artifact in version.artifacts:
        check_path(artifact.path)
        check_digest(artifact.digest)
        check_size(artifact.size_bytes)


def check_path(path: str) -> None:
    """Raises Invalid (BAD_PACKAGE) where a path could lead out of its package."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or len(path) > PATH_CHARACTERS_MAX or {"", ".", ".."} & set(parts):
        raise _bad_package(f"{path!r} cannot be a path inside a package")


def _bad_package(message: str) -> Invalid:
    return Invalid("BAD_PACKAGE", message, "publish the version again with the files put right")
