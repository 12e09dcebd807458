"""A control plane's data, made of a backup: all or nothing.

Everything is laid out and checked in a directory beside the one that is wanted. Then the database is filled in one
transaction, and last the directory gets its name. Killed between the two, a database is there without its authority: a
control plane that is started with it refuses (AUTHORITY_DIFFERS), and the restore is repeated into an empty database.

A file system that is mounted at the wanted directory cannot be renamed to: there all is laid out within, and moved up
with the authority last.
"""

import os
import shutil
from pathlib import Path

from control_plane.alone import store_url
from control_plane.artifacts.store import disk_explained
from control_plane.backups import archive, copying
from control_plane.backups.settings import RestoreSettings
from mesh import clock
from mesh.files import private_directory, sync_directory
from waypost.errors import Precondition

RESTORING = ".restoring"
OF_A_MOUNT = (RESTORING, "lost+found")
"""What an empty file system may hold: of a restore that was killed, and ext4's."""


async def restore_from(settings: RestoreSettings) -> str:
    """Returns what to tell of it. Raises MeshError; nothing is left then."""
    data_dir = settings.data_dir.resolve()
    _refuse_contents(data_dir)
    beside = data_dir.with_name(f".{data_dir.name}{RESTORING}")
    laid_out = data_dir / RESTORING if data_dir.is_mount() else beside
    shutil.rmtree(laid_out, ignore_errors=True)  # of a restore that was killed
    try:
        with disk_explained(laid_out):
            private_directory(laid_out)
        contents = archive.extract(settings.file, laid_out)
        saved = laid_out / archive.STORE
        saved.rename(laid_out / "saved.db")
        url = store_url(settings.database_url, laid_out)
        origin = await copying.load(laid_out / "saved.db", url, now=clock.now())
        with disk_explained(laid_out):
            _arrange(laid_out)
            _put(laid_out, data_dir)
    finally:
        shutil.rmtree(laid_out, ignore_errors=True)
    return _told(settings, contents, origin.revision)


def _refuse_contents(data_dir: Path) -> None:
    if not data_dir.exists():
        return
    for found in data_dir.iterdir():
        if data_dir.is_mount() and found.name in OF_A_MOUNT:
            continue
        raise Precondition(
            "NOT_EMPTY",
            f"{data_dir} is not empty: it has {found.name}",
            "name another --data-dir, or move this one away: a restore never overwrites",
        )


def _arrange(laid_out: Path) -> None:
    """From the archive's order to the data directory's."""
    (laid_out / "saved.db").unlink()
    artifacts = laid_out / archive.ARTIFACTS
    if artifacts.exists():
        stored = laid_out / "sha256"
        artifacts.rename(stored)
        artifacts.mkdir(mode=0o700)
        stored.rename(artifacts / "sha256")
        for path in (artifacts / "sha256").iterdir():
            path.chmod(0o400)


def _put(laid_out: Path, data_dir: Path) -> None:
    """Where it shall be."""
    if data_dir.is_mount():
        for path in sorted(laid_out.iterdir(), key=lambda path: path.name == archive.IDENTITY):
            os.replace(path, data_dir / path.name)
        sync_directory(data_dir)
    else:
        os.replace(laid_out, data_dir)
        sync_directory(data_dir.parent)


def _told(settings: RestoreSettings, contents: archive.Contents, revision: int) -> str:
    lines = [
        f"restored revision {revision} of store {contents.incarnation} into {settings.data_dir}",
        "start the control plane there; edge servers keep what this backup does not know of, and say so in",
        "`waypost status`, until you confirm it for each: `waypost edge-server confirm NAME`",
    ]
    if not contents.with_artifacts:
        lines.append("the backup has no files of model versions: put artifacts/ of a data directory there before")
    if settings.database_url:
        lines.append("other control planes on this database need the same identity/ca.pem and identity/ca.key")
    return "".join(f"{line}\n" for line in lines)
