"""What a backup is: a tar file, its contents first.

backup.json          Contents: versions, revision, sha256 of what follows
store.db             all tables, as a SQLite store, whatever database they came from
identity/...         the authority, where it is the control plane's own
admin.token          the first credential, where it is still there
artifacts/<hex>      files, by sha256 (left out on demand)
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from control_plane.artifacts.store import disk_explained
from mesh.files import sync_directory
from waypost.errors import DataLoss, Invalid, Precondition

FORMAT = 1
CONTENTS, STORE, IDENTITY, ADMIN_TOKEN, ARTIFACTS = "backup.json", "store.db", "identity", "admin.token", "artifacts"
CONTENTS_BYTES_MAX = 64 << 20  # half a million files by name
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Contents:
    """created_unix_s: on the clock of the machine that made it."""

    software: str
    incarnation: str
    revision: int
    created_unix_s: int
    files: Mapping[str, str]
    """Name in the archive -> sha256, hex."""
    with_artifacts: bool
    missing: tuple[str, ...] = ()
    """Digests of files that versions need, and that did not lie there."""
    format: int = field(default=FORMAT)


@contextmanager
def writing(path: Path) -> Iterator[tarfile.TarFile]:
    """A new archive, for its owner alone: there at the end of the block, whole and on the disk, or not at all.

    Raises: Precondition(BACKUP_EXISTS), Exhausted(DISK_FULL), Unavailable(DISK_FAILED).
    """
    if path.exists():
        raise Precondition("BACKUP_EXISTS", f"{path} exists already", "name another file, or move that one away")
    partial = path.with_name(f".{path.name}.partial")
    with disk_explained(path):
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w") as archive:
                    yield archive
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync_directory(path.resolve().parent)


def add(archive: tarfile.TarFile, name: str, source: Path | bytes) -> None:
    """A file, readable by its owner alone and by nobody's name."""
    if isinstance(source, bytes):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(source), 0o600
        archive.addfile(entry, io.BytesIO(source))
        return
    with source.open("rb") as file:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o600
        archive.addfile(entry, file)


def add_contents(archive: tarfile.TarFile, contents: Contents) -> None:
    """First of all."""
    add(archive, CONTENTS, json.dumps(asdict(contents), indent=1).encode())


def extract(path: Path, directory: Path) -> Contents:
    """Lays the files out in `directory`, each checked.

    Raises: Invalid(NOT_A_BACKUP), Precondition(BACKUP_TOO_NEW), DataLoss(BACKUP_DAMAGED), Exhausted, Unavailable.
    """
    contents: Contents | None = None
    try:
        with tarfile.open(path, mode="r|") as archive:
            contents = _read_contents(archive, path)
            left = dict(contents.files)
            while entry := archive.next():
                _extract(archive, entry, left.pop(entry.name, None), directory)
    except tarfile.ReadError as error:
        raise _damaged(path, f"it ends too early ({error})") if contents else _no_backup(path, error) from error
    except OSError as error:
        raise _no_backup(path, error.strerror) from error
    if left:
        raise _damaged(path, f"{min(left)} is missing")
    return contents


def _read_contents(archive: tarfile.TarFile, path: Path) -> Contents:
    try:
        entry = archive.next()
        file = archive.extractfile(entry) if entry and entry.name == CONTENTS else None
        if file is None or entry is None or entry.size > CONTENTS_BYTES_MAX:
            raise _no_backup(path, "it does not begin as one")
        told = json.loads(file.read())
        if told["format"] > FORMAT:
            raise Precondition(
                "BACKUP_TOO_NEW",
                f"{path} was made by version {told['software']} of Waypost",
                "restore it with that version, or a newer one",
            )
        return Contents(**{**told, "missing": tuple(told["missing"])})
    except (ValueError, KeyError, TypeError) as error:
        raise _no_backup(path, error) from error


def _no_backup(path: Path, why: object) -> Invalid:
    return Invalid("NOT_A_BACKUP", f"{path} is no backup: {why}", "name a file that `waypost backup` wrote")


def _extract(archive: tarfile.TarFile, entry: tarfile.TarInfo, digest: str | None, directory: Path) -> None:
    """Only what the contents name; and whatever they name, nothing outside of the directory."""
    target = directory / entry.name
    file = archive.extractfile(entry) if entry.isreg() else None
    if digest is None or file is None or ".." in Path(entry.name).parts or Path(entry.name).is_absolute():
        raise _damaged(Path(str(archive.name)), f"{entry.name} does not belong there")
    with disk_explained(target):
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        seen = hashlib.sha256()
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            while piece := file.read(PIECE_BYTES):
                seen.update(piece)
                out.write(piece)
            out.flush()
            os.fsync(out.fileno())
    if seen.hexdigest() != digest:
        raise _damaged(Path(str(archive.name)), f"{entry.name} is not what it was")


def _damaged(path: Path, why: str) -> DataLoss:
    return DataLoss("BACKUP_DAMAGED", f"{path} is damaged: {why}", "use another backup")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
