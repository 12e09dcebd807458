"""What was backed up is what is restored: all of it, checked, and as another store."""

import asyncio
import hashlib
import json
import os
import sqlite3
import stat
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from control_plane.artifacts.store import ArtifactStore
from control_plane.backups.backup import back_up
from control_plane.backups.commands import backup, restore
from control_plane.backups.restore import restore_from
from control_plane.backups.settings import BackupSettings, RestoreSettings
from control_plane.identity.authority import Authority
from control_plane.store import EventRow, ObservedRow, Peer, Put, open_stores
from control_plane.store.resources import MODEL_VERSION
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion
from waypost.errors import MeshError

CONTENT = b"a model"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
LOST = "sha256:" + "0" * 64
VERSION = "projects/p/applications/a/models/m/versions/1"


async def pieces() -> AsyncIterator[bytes]:
    yield CONTENT


async def fill(data_dir: Path) -> Path:
    """A control plane's data, as it lies there while one runs."""
    await ArtifactStore(data_dir / "artifacts").open().write(DIGEST, len(CONTENT), pieces())
    Authority.open(data_dir / "identity", now=1_800_000_000)
    (data_dir / "admin.token").write_text("wp1_secret\n")
    async with open_stores(f"sqlite:///{data_dir}/store.db") as stores:
        version = ModelVersion(name=VERSION, artifacts=[Artifact(digest=DIGEST), Artifact(digest=LOST)])
        await stores.records.commit([MODEL_VERSION.encode(VERSION, version)])
        await stores.records.commit([Put(f"thing/{n}", "thing", b"x" * n) for n in range(900)])
        await stores.observed.put([ObservedRow("k", "a", b"1")])
        await stores.events.append([EventRow(1, "a", "CREATED", "it was", "test", "key")])
        await stores.claims.take("edgeServers/e", "run")
        await stores.roster.join(Peer("id", "run", "a:1", "a:1", "1"))
    return data_dir


async def backed_up(tmp_path: Path, **choices: bool) -> Path:
    file = tmp_path / "backup.tar"
    await back_up(BackupSettings(file=file, data_dir=await fill(tmp_path / "data"), **choices))
    return file


@scenario
async def test_a_restored_control_plane_has_everything_and_is_another_store(tmp_path: Path) -> None:
    file = await backed_up(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = await restore_from(RestoreSettings(file=file, data_dir=tmp_path / "restored"))
    assert "revision 2" in told
    was, is_ = tmp_path / "data", tmp_path / "restored"
    for name in ("identity/ca.pem", "identity/ca.key", "admin.token"):
        assert (is_ / name).read_bytes() == (was / name).read_bytes()
        assert stat.S_IMODE((is_ / name).stat().st_mode) == 0o600
    assert ArtifactStore(is_ / "artifacts").open().path(DIGEST).read_bytes() == CONTENT
    assert set(os.listdir(is_)) == {"identity", "admin.token", "artifacts", "store.db"}
    async with open_stores(f"sqlite:///{was}/store.db") as before, open_stores(f"sqlite:///{is_}/store.db") as after:
        origin = after.restored_from
        assert origin is not None
        assert (origin.incarnation, origin.revision) == (before.records.incarnation, 2)
        assert after.records.incarnation != before.records.incarnation
        assert after.token_key == before.token_key
        assert await after.records.revision() == 2
        assert await after.records.scan("thing/") == await before.records.scan("thing/")
        assert await after.observed.read("k", ["a"]) == {"a": b"1"}
        assert await after.events.newest() == await before.events.newest()
        assert await after.claims.read(["edgeServers/e"]) == {}  # of processes that are no more
        assert await after.claims.take("edgeServers/e", "run") == 2
        assert await after.roster.all() == []


@scenario
async def test_a_file_system_that_is_mounted_there_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, mounted = await backed_up(tmp_path), tmp_path / "mounted"
    (mounted / "lost+found").mkdir(parents=True)
    (mounted / ".restoring/identity").mkdir(parents=True)  # of a restore that was killed
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    await restore_from(RestoreSettings(file=file, data_dir=mounted))
    assert set(os.listdir(mounted)) == {"identity", "admin.token", "artifacts", "store.db", "lost+found"}
    with pytest.raises(MeshError) as refused:
        await restore_from(RestoreSettings(file=file, data_dir=mounted))
    assert refused.value.reason == "NOT_EMPTY"


@scenario
async def test_a_backup_is_one_moment_of_a_store_that_is_written_all_the_while(tmp_path: Path) -> None:
    data_dir = await fill(tmp_path / "data")
    async with open_stores(f"sqlite:///{data_dir}/store.db") as stores:

        async def write() -> None:
            """Both rise by one in each commit: in any one moment they are equal."""
            while True:
                value = str(await stores.records.revision()).encode()
                await stores.records.commit([Put("a/first", "thing", value), Put("z/last", "thing", value)])

        writing = asyncio.ensure_future(write())
        for number in range(5):
            await back_up(BackupSettings(file=tmp_path / f"{number}.tar", data_dir=data_dir))
            await restore_from(RestoreSettings(file=tmp_path / f"{number}.tar", data_dir=tmp_path / str(number)))
            async with open_stores(f"sqlite:///{tmp_path}/{number}/store.db") as restored:
                found = await restored.records.read_many(["a/first", "z/last"])
                assert len({record.body for record in found.values()}) <= 1
                assert {record.revision for record in found.values()} <= {await restored.records.revision()}
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


@scenario
async def test_what_is_not_there_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    data_dir = await fill(tmp_path / "data")
    whole = await back_up(BackupSettings(file=tmp_path / "whole.tar", data_dir=data_dir))
    assert LOST in whole
    assert "key" in whole
    lean = await back_up(BackupSettings(file=tmp_path / "lean.tar", data_dir=data_dir, artifacts=False))
    assert "without artifacts/" in lean
    with tarfile.open(tmp_path / "lean.tar") as archive:
        assert not any(name.startswith("artifacts/") for name in archive.getnames())
    told = await restore_from(RestoreSettings(file=tmp_path / "lean.tar", data_dir=tmp_path / "restored"))
    assert "no files of model versions" in told


@scenario
async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = await backed_up(tmp_path)
    before = file.read_bytes()
    with pytest.raises(MeshError) as refused:
        await back_up(BackupSettings(file=file, data_dir=tmp_path / "data"))
    assert refused.value.reason == "BACKUP_EXISTS"
    assert file.read_bytes() == before
    with pytest.raises(MeshError) as refused:
        await restore_from(RestoreSettings(file=file, data_dir=tmp_path / "data"))
    assert refused.value.reason == "NOT_EMPTY"
    url = f"sqlite:///{tmp_path}/data/store.db"
    with pytest.raises(MeshError) as refused:
        await restore_from(RestoreSettings(file=file, data_dir=tmp_path / "new", database_url=url))
    assert refused.value.reason == "NOT_EMPTY"
    assert not (tmp_path / "new").exists()


def flip(path: Path) -> None:
    """One bit of the key in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[content.index(b"BEGIN PRIVATE KEY") + 60] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200_000])


def smuggle(path: Path) -> None:
    with tarfile.open(path, "a") as archive:
        archive.add(__file__, "../smuggled")


def contents_of_the_future(path: Path) -> None:
    with tarfile.open(path) as archive:
        file = archive.extractfile("backup.json")
        assert file is not None
        told = json.load(file)
    (path.parent / "backup.json").write_text(json.dumps({**told, "format": 2}))
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "backup.json", "backup.json")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (flip, "BACKUP_DAMAGED"),
        (truncate, "BACKUP_DAMAGED"),
        (smuggle, "BACKUP_DAMAGED"),
        (contents_of_the_future, "BACKUP_TOO_NEW"),
        (lambda path: path.write_bytes(b"no archive" * 1000), "NOT_A_BACKUP"),
        (lambda path: path.write_bytes(b""), "NOT_A_BACKUP"),
        (lambda path: path.unlink(), "NOT_A_BACKUP"),
    ],
)
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    tmp_path: Path, harm: Callable[[Path], object], reason: str
) -> None:
    @scenario
    async def attempt() -> None:
        file = await backed_up(tmp_path)
        harm(file)
        with pytest.raises(MeshError) as refused:
            await restore_from(RestoreSettings(file=file, data_dir=tmp_path / "restored"))
        assert refused.value.reason == reason
        assert not (tmp_path / "restored").exists()
        assert not any(name.startswith(".") for name in os.listdir(tmp_path))

    attempt()


@scenario
async def test_a_store_that_is_not_there_or_of_another_version_is_told_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(MeshError) as refused:
        await back_up(BackupSettings(file=tmp_path / "b.tar", data_dir=tmp_path / "nowhere"))
    assert refused.value.reason == "NO_STORE"
    assert os.listdir(tmp_path) == []
    data_dir = await fill(tmp_path / "data")
    with closing(sqlite3.connect(data_dir / "store.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(MeshError) as refused:
        await back_up(BackupSettings(file=tmp_path / "b.tar", data_dir=data_dir))
    assert refused.value.reason == "STORE_OF_ANOTHER_VERSION"


def test_as_commands_they_say_what_they_did_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @scenario
    async def prepare() -> None:
        await fill(tmp_path / "data")

    prepare()
    file, data, restored = (str(tmp_path / name) for name in ("b.tar", "data", "restored"))
    assert backup([file, "--data-dir", data]) == 0
    assert restore([file, "--data-dir", restored]) == 0
    assert "waypost edge-server confirm" in capsys.readouterr().out
    assert restore([file, "--data-dir", restored]) == 1
    assert "hint: name another --data-dir" in capsys.readouterr().err
