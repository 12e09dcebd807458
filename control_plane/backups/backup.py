"""Everything that a control plane knows, in one file, while it goes on working.

The store is read as of one moment, and files after it: a version that the store names has its files by then, and files
are never changed.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from control_plane.alone import store_url
from control_plane.backups import archive, copying
from control_plane.backups.settings import BackupSettings
from control_plane.store.resources import MODEL_VERSION
from mesh import clock
from mesh.version import VERSION


async def back_up(settings: BackupSettings) -> str:
    """Returns what to tell of it. Raises MeshError; nothing is left then."""
    data_dir = settings.data_dir.resolve()
    beside = settings.file.resolve().parent  # as large as the backup, and as private
    with (
        archive.writing(settings.file) as target,
        tempfile.TemporaryDirectory(dir=beside, prefix=".waypost-backup-") as scratch,
    ):
        store = Path(scratch) / archive.STORE
        moment = await copying.save(store_url(settings.database_url, data_dir), store)
        files = {archive.STORE: store, **_authority(data_dir)}
        artifacts, missing = _artifacts(data_dir, store) if settings.artifacts else ({}, ())
        files.update(artifacts)
        contents = archive.Contents(
            software=VERSION,
            incarnation=moment.incarnation,
            revision=moment.revision,
            created_unix_s=int(clock.now()),
            files={name: archive.sha256(path) for name, path in files.items()},
            with_artifacts=settings.artifacts,
            missing=missing,
        )
        archive.add_contents(target, contents)
        for name, path in files.items():
            archive.add(target, name, path)
    return _told(settings, contents)


def _authority(data_dir: Path) -> dict[str, Path]:
    """And what only the first start makes; not the control plane's own certificate, which is made again."""
    found = {f"{archive.IDENTITY}/{path.name}": path for path in sorted((data_dir / archive.IDENTITY).glob("ca*"))}
    token = data_dir / archive.ADMIN_TOKEN
    return found | ({archive.ADMIN_TOKEN: token} if token.exists() else {})


def _artifacts(data_dir: Path, store: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """What versions consist of, by name in the archive; and the digests of what does not lie here."""
    wanted = {
        digest: data_dir / archive.ARTIFACTS / "sha256" / digest.removeprefix("sha256:") for digest in _digests(store)
    }
    found = {f"{archive.ARTIFACTS}/{path.name}": path for path in wanted.values() if path.exists()}
    return found, tuple(sorted(digest for digest, path in wanted.items() if not path.exists()))


def _digests(store: Path) -> Iterator[str]:
    with closing(sqlite3.connect(store)) as connection:
        for (body,) in connection.execute("SELECT body FROM records WHERE kind = ?", (MODEL_VERSION.kind,)):
            yield from (artifact.digest for artifact in MODEL_VERSION.message.FromString(body).artifacts)


def _told(settings: BackupSettings, contents: archive.Contents) -> str:
    artifacts = sum(name.startswith(f"{archive.ARTIFACTS}/") for name in contents.files)
    lines = [f"wrote {settings.file}: revision {contents.revision} of store {contents.incarnation}"]
    lines.append(f"with {artifacts} files of model versions" if contents.with_artifacts else "without artifacts/")
    if contents.missing:
        lines.append(
            f"{len(contents.missing)} files that versions name do not lie here, {contents.missing[0]} among them"
        )
    if not any(name.startswith(f"{archive.IDENTITY}/") for name in contents.files):
        lines.append("without an authority: it is not in the data directory, so keep its certificate and key yourself")
    else:
        lines.append("it holds the authority's key: keep it where nobody else can read it")
    return "".join(f"{line}\n" for line in lines)
