"""Puts versions into the directory, and takes them back.

A version is assembled in a hidden directory beside its place, its manifest last, and moved there by one rename: who
looks sees all of it or nothing, also when this process is killed in between. The same version again is no change;
other bytes under the same name are refused.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import Message

from mesh import clock
from mesh.clock import Ids, RandomIds
from mesh.files import sync_directory, write_atomically
from mesh.packages import MANIFEST
from training_platform.layout import APPLICATION, MODEL, Digests, version_directory
from training_platform.manifest import WITHDRAWN, check, check_key, key_of
from waypost.api.training.v1 import training_pb2
from waypost.errors import AlreadyExists, Invalid, NotFound

COPY_BYTES = 1 << 20
MEDIA_TYPES = {".onnx": "application/onnx", ".py": "text/x-python", ".json": "application/json"}
READABLE = 0o644  # models are no secrets: whoever serves the directory need not be who filled it


def publish(
    directory: Path,
    application: str,
    model: str,
    version: str,
    files: Mapping[str, Path],
    *,
    template_class: str = "",
    metrics: Mapping[str, float] | None = None,
    idempotent: bool | None = None,
    keeps_state: bool = False,
    description: str = "",
    parent_version: str = "",
    now: float | None = None,
    ids: Ids | None = None,
) -> training_pb2.PublishedVersion:
    """Publishes one version. files: by their path inside the package.

    template_class: `module:Class` in the files; empty for ONNX. idempotent: None means yes for ONNX, no for templates.
    keeps_state: of a template that remembers the calls of a sequence.
    now: seconds since the epoch; None asks the clock. Returns the manifest; the earlier one where the very same was
    published before.
    Raises: Invalid(BAD_ID | BAD_MANIFEST), NotFound(NO_SUCH_FILE), AlreadyExists(VERSION_EXISTS), OSError.
    """
    ids = ids or RandomIds()
    manifest = training_pb2.PublishedVersion(
        application=application,
        model=model,
        version=version,
        framework="template" if template_class else "onnx",
        template_class=template_class,
        metrics=metrics or {},
        idempotency=_idempotency(idempotent),
        keeps_state=keeps_state,
        description=description,
        parent_version=parent_version,
        uid=ids.uuid(),
    )
    manifest.publish_time.FromNanoseconds(int((clock.now() if now is None else now) * 1e9))
    manifest.files.extend(_file(path, source) for path, source in sorted(files.items()))
    check(manifest)
    return _put(directory, manifest, files, ids)


def withdraw(directory: Path, application: str, model: str, version: str) -> None:
    """Takes a version back: subscribers learn that it is not to be deployed any more; where it serves it goes on.

    Publishing the same version again brings it back. Raises: Invalid(BAD_ID), NotFound(NO_SUCH_VERSION), OSError.
    """
    key = (application, model, version)
    check_key(key)
    place = version_directory(directory, key)
    if not (place / MANIFEST).exists():
        raise NotFound("NO_SUCH_VERSION", f"{'/'.join(key)} is not published in {directory}")
    write_atomically(place / WITHDRAWN, b"", READABLE)


def _put(
    directory: Path, manifest: training_pb2.PublishedVersion, files: Mapping[str, Path], ids: Ids
) -> training_pb2.PublishedVersion:
    """The manifest as it stands in the directory now."""
    place = version_directory(directory, key_of(manifest))
    if place.exists():
        return _again(place, manifest)
    _describe(directory, manifest, ids)
    try:
        _assemble(place, manifest, files, ids)
    except OSError:
        if place.exists():  # somebody else published it meanwhile
            return _again(place, manifest)
        raise
    return manifest


def _idempotency(idempotent: bool | None) -> training_pb2.Idempotency.ValueType:
    if idempotent is None:
        return training_pb2.IDEMPOTENCY_UNSPECIFIED
    return training_pb2.IDEMPOTENCY_IDEMPOTENT if idempotent else training_pb2.IDEMPOTENCY_NOT_IDEMPOTENT


def _file(path: str, source: Path) -> training_pb2.PublishedFile:
    try:
        return training_pb2.PublishedFile(
            path=path,
            digest=Digests().of(source),
            size_bytes=source.stat().st_size,
            media_type=MEDIA_TYPES.get(source.suffix, "application/octet-stream"),
        )
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound("NO_SUCH_FILE", f"there is no file {source}") from error


def _again(place: Path, version: training_pb2.PublishedVersion) -> training_pb2.PublishedVersion:
    """The version is there already: fine, if it is the same."""
    name = "/".join((version.application, version.model, version.version))
    try:
        before = json_format.Parse((place / MANIFEST).read_bytes(), training_pb2.PublishedVersion())
    except (FileNotFoundError, json_format.ParseError) as error:
        hint = f"remove {place}, or choose another version"
        raise AlreadyExists("VERSION_EXISTS", f"{place} is there, without a manifest that can be read", hint) from error
    if _content(before) != _content(version):
        hint = "a version never changes: give this one another name"
        raise AlreadyExists("VERSION_EXISTS", f"{name} is published already, with other content", hint)
    (place / WITHDRAWN).unlink(missing_ok=True)
    sync_directory(place)
    return before


def _content(version: training_pb2.PublishedVersion) -> training_pb2.PublishedVersion:
    """Without what differs between two publications of the same."""
    content = training_pb2.PublishedVersion()
    content.CopyFrom(version)
    content.ClearField("publish_time")
    content.ClearField("uid")
    return content


def _describe(directory: Path, version: training_pb2.PublishedVersion, ids: Ids) -> None:
    """Application and model get a uid and a birthday with their first version."""
    folder = directory / version.application
    (folder / version.model).mkdir(parents=True, exist_ok=True)
    application = training_pb2.PublishedApplication(
        application=version.application, uid=ids.uuid(), create_time=version.publish_time
    )
    model = training_pb2.PublishedModel(
        application=version.application, model=version.model, uid=ids.uuid(), create_time=version.publish_time
    )
    for path, message in ((folder / APPLICATION, application), (folder / version.model / MODEL, model)):
        if not path.exists():
            write_atomically(path, _json(message), READABLE)


def _assemble(place: Path, version: training_pb2.PublishedVersion, files: Mapping[str, Path], ids: Ids) -> None:
    staging = place.parent / f".{place.name}.{ids.uuid()}"
    try:
        staging.mkdir()
        for file in version.files:
            _copy(files[file.path], staging / file.path, file.digest)
        write_atomically(staging / MANIFEST, _json(version), READABLE)
        os.rename(staging, place)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_directory(place.parent)


def _copy(source: Path, target: Path, digest: str) -> None:
    """Copies to disk. Raises: Invalid(FILE_CHANGED) where the source is not what it was a moment ago."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while data := reader.read(COPY_BYTES):
            sha256.update(data)
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
    target.chmod(READABLE)
    if f"sha256:{sha256.hexdigest()}" != digest:
        raise Invalid("FILE_CHANGED", f"{source} changed while it was being published", "publish it again")


def _json(message: Message) -> bytes:
    return json_format.MessageToJson(message).encode() + b"\n"
