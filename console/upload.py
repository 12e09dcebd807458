"""A model that a person brings by hand: its files go into the platform's store, then a version that names them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from console.client import Client
from waypost.api.control.v1.artifact_pb2 import WriteArtifactRequest
from waypost.api.control.v1.model_pb2 import Artifact
from waypost.errors import Invalid

PIECE_BYTES = 256 << 10  # the contract's limit on one message
UPLOAD_S = 600.0  # a gigabyte over a slow uplink; the platform answers at once for what it has already
PACKAGE_FILES_MAX = 1000

MODEL_PATH = "model.onnx"  # whatever the file was called: a name that varies says nothing to anybody

MEDIA_TYPES = {".onnx": "application/onnx", ".py": "text/x-python", ".json": "application/json"}


def artifacts_of(path: Path) -> list[tuple[Artifact, Path]]:
    """What a package consists of: the files below a directory, or one ONNX file.

    Raises: Invalid(CANNOT_READ | BAD_PACKAGE).
    """
    if path.is_file():
        return [(_artifact(path, MODEL_PATH), path)]
    if not path.is_dir():
        raise Invalid("CANNOT_READ", f"there is no file {path}")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not 0 < len(files) <= PACKAGE_FILES_MAX:
        raise Invalid("BAD_PACKAGE", f"{path} holds {len(files)} files; a package has 1 to {PACKAGE_FILES_MAX}")
    return [(_artifact(file, file.relative_to(path).as_posix()), file) for file in files]


def upload(client: Client, artifact: Artifact, file: Path) -> None:
    """Brings one file into the platform's store. Raises: MeshError, among them DataLoss where the file changed."""
    client.call(client.artifacts.WriteArtifact, _pieces(artifact, file), timeout=UPLOAD_S)


def _artifact(file: Path, path: str) -> Artifact:
    try:
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise Invalid("CANNOT_READ", f"{file} cannot be read: {error}") from error
    media_type = MEDIA_TYPES.get(file.suffix, "application/octet-stream")
    return Artifact(path=path, digest=f"sha256:{digest}", size_bytes=file.stat().st_size, media_type=media_type)


def _pieces(artifact: Artifact, file: Path) -> Iterator[WriteArtifactRequest]:
    yield WriteArtifactRequest(digest=artifact.digest, size_bytes=artifact.size_bytes)
    with open(file, "rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            yield WriteArtifactRequest(data=piece)
