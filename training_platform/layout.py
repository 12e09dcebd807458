"""The directory as it is now: read, checked, never believed.

A look costs one `stat` per file; manifests are parsed and files hashed only when their size, time or inode changed.
What is broken becomes a Problem and is skipped; what is gone is simply not found.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message

from mesh.packages import MANIFEST
from training_platform.catalogue import Found, ModelKey, Problem
from training_platform.manifest import WITHDRAWN, Key, check
from waypost import names
from waypost.api.training.v1 import training_pb2
from waypost.errors import DataLoss, Invalid, MeshError, NotFound

OURS = ".waypost"
APPLICATION = "application.json"
MODEL = "model.json"
MANIFEST_BYTES_MAX = 1 << 20  # 256 files with their digests are 150 KB where all paths are as long as may be

M = TypeVar("M", bound=Message)
Stamp = tuple[int, int, int, int]


def version_directory(directory: Path, key: Key) -> Path:
    return directory.joinpath(*key)


@dataclass(slots=True)
class Digests:
    """sha256 of files, computed again only when a file looks different. Safe to use from several threads."""

    _known: dict[Path, tuple[Stamp, str]] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """`sha256:<hex>`. Raises: OSError."""
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = stamp, "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
                self._known[path] = known
        return known[1]


class Directory:
    """Looks at one directory again and again."""

    def __init__(self, root: Path, digests: Digests) -> None:
        self.root = root
        self._digests = digests
        self._parsed: dict[Path, tuple[Stamp, Message]] = {}

    def look(self) -> Found:
        """Everything that is published here now. Raises: OSError."""
        return _Look(self).run()

    def look_served(self) -> Found:
        """The same for a directory that is being served. Raises: NotFound(DIRECTORY_GONE), OSError."""
        if not (self.root / OURS).is_dir():  # unmounted, most likely; an empty mount point withdraws nothing
            raise NotFound("DIRECTORY_GONE", f"{self.root} is not the directory that it was", "is it still mounted?")
        return self.look()

    def parse(self, path: Path, kind: type[M]) -> M:
        """A ProtoJSON file; parsed again only when it changed. Raises: Invalid(BAD_MANIFEST), FileNotFoundError."""
        stamp = _stamp(path.stat())
        known = self._parsed.get(path)
        if known is None or known[0] != stamp:
            known = stamp, _parse(path, kind)
            self._parsed[path] = known
        message = kind()
        message.MergeFrom(cast(M, known[1]))
        return message

    def check_files(self, version: training_pb2.PublishedVersion, folder: Path) -> None:
        """Raises: DataLoss(FILE_CHANGED) where the bytes are not those of the manifest; OSError."""
        for file in version.files:
            path = folder / file.path
            size = path.stat().st_size
            if size != file.size_bytes or self._digests.of(path) != file.digest:
                raise DataLoss("FILE_CHANGED", f"{file.path} has not the bytes that the manifest names")


@dataclass(slots=True)
class _Look:
    """One pass over the directory."""

    directory: Directory
    applications: dict[str, training_pb2.PublishedApplication] = field(default_factory=dict)
    models: dict[ModelKey, training_pb2.PublishedModel] = field(default_factory=dict)
    versions: dict[Key, training_pb2.PublishedVersion] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[tuple[str, ...]] = field(default_factory=set)

    def run(self) -> Found:
        for application in _folders(self.directory.root):
            self._application(application)
        return Found(self.applications, self.models, self.versions, tuple(self.problems), frozenset(self.unreadable))

    def _application(self, folder: Path) -> None:
        try:
            names.check_id(folder.name, "applications")
            described = self._described(folder / APPLICATION, training_pb2.PublishedApplication)
            _agree(described, "application", folder.name)
            models = _folders(folder)
        except (MeshError, OSError) as error:
            return self._broken((folder.name,), error)
        for model in models:
            self._model(folder.name, model)
        if (folder / APPLICATION).exists() or any(key[0] == folder.name for key in self.models):
            self.applications[folder.name] = described
        return None

    def _model(self, application: str, folder: Path) -> None:
        key = (application, folder.name)
        try:
            names.check_id(folder.name, "models")
            described = self._described(folder / MODEL, training_pb2.PublishedModel)
            _agree(described, "application", application)
            _agree(described, "model", folder.name)
            versions = _folders(folder)
        except (MeshError, OSError) as error:
            return self._broken(key, error)
        for version in versions:
            self._version((*key, version.name), version)
        if (folder / MODEL).exists() or any(version[:2] == key for version in self.versions):
            self.models[key] = described
        return None

    def _version(self, key: Key, folder: Path) -> None:
        if (folder / WITHDRAWN).exists() or not (folder / MANIFEST).exists():
            return None
        try:
            version = self.directory.parse(folder / MANIFEST, training_pb2.PublishedVersion)
            for name, id_ in zip(("application", "model", "version"), key, strict=True):
                _agree(version, name, id_)
            check(version)
            self.directory.check_files(version, folder)
        except (MeshError, OSError) as error:
            return self._broken(key, error)
        self.versions[key] = version
        return None

    def _described(self, path: Path, kind: type[M]) -> M:
        try:
            return self.directory.parse(path, kind)
        except FileNotFoundError:
            return kind()

    def _broken(self, key: tuple[str, ...], error: MeshError | OSError) -> None:
        reason = error.reason if isinstance(error, MeshError) else "UNREADABLE"
        self.problems.append(Problem("/".join(key), reason, str(error)))
        self.unreadable.add(key)


def read_json(path: Path) -> dict[str, Any]:
    """Empty where there is no file. Raises: DataLoss(BAD_FILE), OSError."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DataLoss("BAD_FILE", f"{path} is not JSON: {error}", "move it away") from error
    return found


def _folders(parent: Path) -> list[Path]:
    """Directories in order of their names; hidden ones are somebody's work in progress."""
    with os.scandir(parent) as entries:
        found = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    return [parent / name for name in found]


def _parse(path: Path, kind: type[M]) -> M:
    try:
        with path.open("rb") as file:
            text = file.read(MANIFEST_BYTES_MAX + 1)
        if len(text) > MANIFEST_BYTES_MAX:
            raise ValueError(f"it is larger than {MANIFEST_BYTES_MAX} bytes")
        return json_format.Parse(text, kind())
    except (ValueError, json_format.ParseError) as error:
        raise Invalid("BAD_MANIFEST", f"{path.name}: {error}") from error


def _agree(message: Message, name: str, id_: str) -> None:
    """The file may leave out what its place says, but not say otherwise."""
    said = getattr(message, name) or id_
    if said != id_:
        raise Invalid("BAD_MANIFEST", f"{name} is {said!r}, its directory is called {id_!r}")
    setattr(message, name, id_)


def _stamp(stat: os.stat_result) -> Stamp:
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
