"""What makes a list of files a model version. Pure."""

from pathlib import PurePosixPath

from control_plane.artifacts.store import check_digest, check_size
from mesh.packages import FILES_MAX, MANIFEST, is_path
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.errors import Invalid

ARTIFACTS_STORED, CHECKED = "ArtifactsStored", "Checked"
"""The conditions of a model version."""


def check_files(version: ModelVersion) -> None:
    """Judges the artifacts; all else `domain.check.check_model_version` does.

    Raises Invalid (BAD_PACKAGE, BAD_DIGEST, BAD_SIZE).
    """
    if not 1 <= len(version.artifacts) <= FILES_MAX:
        raise _bad_package(f"a version has 1..{FILES_MAX} files, this one has {len(version.artifacts)}")
    paths = [artifact.path for artifact in version.artifacts]
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    if len(set(paths)) < len(paths) or folders & set(paths):
        raise _bad_package("two files have the same path, or one lies where another needs a folder")
    if MANIFEST in paths:
        raise _bad_package(f"{MANIFEST} is written beside the files by us, and cannot be one of them")
    for artifact in version.artifacts:
        if not is_path(artifact.path):
            raise _bad_package(f"{artifact.path!r} cannot be a path inside a package")
        check_digest(artifact.digest)
        check_size(artifact.size_bytes)


def _bad_package(message: str) -> Invalid:
    return Invalid("BAD_PACKAGE", message, "publish the version again with the files put right")
