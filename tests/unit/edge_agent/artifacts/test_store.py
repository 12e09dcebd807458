"""Artifacts are fetched once, resumed, and trusted only when their digest is what it should be."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from google.protobuf.json_format import Parse

from edge_agent.artifacts.blobs import Blobs, FakeSource
from edge_agent.artifacts.store import Artifacts
from mesh.packages import version_digest
from waypost.api.control.v1.model_pb2 import Artifact, ModelVersion
from waypost.errors import DataLoss, Exhausted, Invalid, MeshError, NotFound, Unavailable


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


MODEL, SAMPLES = b"the model's bytes, more than one piece", b'{"inputs": []}'


def version(**contents: bytes) -> ModelVersion:
    artifacts = [
        Artifact(path=p.replace("_", "/"), digest=digest_of(c), size_bytes=len(c)) for p, c in contents.items()
    ]
    built = ModelVersion(name="projects/p/applications/a/models/m/versions/1", artifacts=artifacts)
    built.digest = version_digest(built.artifacts)
    return built


class Rig:
    """The artifacts of an agent, and of the next one in the same place."""

    def __init__(self, tmp_path: Path, **keywords: Any) -> None:
        self.directory = tmp_path
        self.source = FakeSource({digest_of(content): content for content in (MODEL, SAMPLES)})
        (tmp_path / "blobs").mkdir(exist_ok=True)
        (tmp_path / "versions").mkdir(exist_ok=True)
        self.blobs = Blobs(tmp_path / "blobs", self.source, **keywords)
        self.artifacts = Artifacts(tmp_path / "versions", self.blobs)

    def ensure(self, wanted: ModelVersion) -> Path:
        return run(self.artifacts.ensure(wanted))

    def refused(self, wanted: ModelVersion) -> MeshError:
        with pytest.raises(MeshError) as caught:
            self.ensure(wanted)
        return caught.value


class SlowSource(FakeSource):
    """Its first byte takes a while."""

    async def read(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(0.1)
        async for piece in super().read(digest, offset):
            yield piece


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scenario)


ONE = version(model=MODEL, deep_samples=SAMPLES)


def test_a_package_holds_the_files_by_path_and_a_manifest(tmp_path: Path) -> None:
    package = Rig(tmp_path).ensure(ONE)
    assert package.name == ONE.digest.removeprefix("sha256:")[:16]
    assert (package / "model").read_bytes() == MODEL
    assert (package / "deep" / "samples").read_bytes() == SAMPLES
    assert Parse((package / "manifest.json").read_text(), ModelVersion()) == ONE


def test_what_is_here_is_not_fetched_again_by_the_next_agent_either(tmp_path: Path) -> None:
    first, second = Rig(tmp_path), Rig(tmp_path)
    first.ensure(ONE)
    first.ensure(ONE)
    assert len(first.source.reads) == 2
    second.source.away = True
    assert second.ensure(ONE).exists()


def test_a_file_that_two_versions_share_is_fetched_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rig.artifacts.ensure(ONE))
            tasks.create_task(rig.artifacts.ensure(version(model=MODEL)))

    run(both())
    assert sorted(rig.source.reads) == sorted([(digest_of(MODEL), 0), (digest_of(SAMPLES), 0)])


def test_a_broken_read_goes_on_where_it_broke(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.source.broken[digest_of(MODEL)] = 10
    error = rig.refused(ONE)
    assert (type(error), error.reason) == (Unavailable, "SOURCE_UNREACHABLE")
    assert rig.ensure(ONE)
    assert [offset for digest, offset in rig.source.reads if digest == digest_of(MODEL)] == [0, 10]


def test_bytes_that_are_not_what_their_digest_says_are_never_kept(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.source.contents[digest_of(MODEL)] = MODEL.replace(b"bytes", b"bites")
    error = rig.refused(ONE)
    assert (type(error), error.reason) == (DataLoss, "DIGEST_MISMATCH")
    assert list(rig.artifacts._directory.iterdir()) == []
    rig.source.contents[digest_of(MODEL)] = MODEL
    assert rig.ensure(ONE)


def test_a_source_that_does_not_stop_is_stopped(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.source.contents[digest_of(MODEL)] = MODEL * 1000
    assert rig.refused(ONE).reason == "DIGEST_MISMATCH"
    assert sum(path.stat().st_size for path in rig.blobs._directory.iterdir()) == 0


def test_a_partial_file_that_is_longer_than_the_artifact_is_begun_anew(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.blobs.path(digest_of(MODEL)).with_suffix(".partial").write_bytes(MODEL * 2)
    assert rig.ensure(ONE)


def test_a_partial_file_that_is_torn_is_begun_anew_and_nobody_else_is_blamed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.blobs.path(digest_of(MODEL)).with_suffix(".partial").write_bytes(b"\0" * 10)
    assert rig.ensure(ONE)
    assert [offset for digest, offset in rig.source.reads if digest == digest_of(MODEL)] == [10, 0]


def test_bytes_that_come_twice_and_are_wrong_twice_are_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.blobs.path(digest_of(MODEL)).with_suffix(".partial").write_bytes(b"\0")
    rig.source.contents[digest_of(MODEL)] = MODEL.replace(b"bytes", b"bites")
    assert rig.refused(ONE).reason == "DIGEST_MISMATCH"
    assert [offset for digest, offset in rig.source.reads if digest == digest_of(MODEL)] == [1, 0]


def test_an_artifact_that_the_disk_forgot_is_fetched_again(tmp_path: Path) -> None:
    Rig(tmp_path).ensure(ONE)
    rig = Rig(tmp_path)
    rig.blobs.path(digest_of(MODEL)).write_bytes(b"rotten")
    package = rig.ensure(ONE)
    assert (package / "model").read_bytes() == MODEL
    assert rig.source.reads == [(digest_of(MODEL), 0)]


def test_an_artifact_that_the_source_does_not_have_is_named(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    del rig.source.contents[digest_of(SAMPLES)]
    error = rig.refused(ONE)
    assert (type(error), error.reason) == (NotFound, "ARTIFACT_MISSING")
    assert "deep/samples" in error.message


def test_a_full_disk_is_said_and_what_came_so_far_is_used_later(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        error = rig.refused(ONE)
    assert (type(error), error.reason) == (Exhausted, "DISK_FULL")
    assert rig.ensure(ONE)
    assert (digest_of(MODEL), len(MODEL)) in rig.source.reads


def test_a_disk_that_cannot_read_what_is_there_is_said(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.blobs.path(digest_of(MODEL)).mkdir()  # cannot be read as a file
    error = rig.refused(ONE)
    assert (type(error), error.reason) == (Unavailable, "STORAGE_FAILED")


def test_a_quota_is_kept_before_a_byte_is_fetched(tmp_path: Path) -> None:
    rig = Rig(tmp_path, bytes_max=len(MODEL) + 3)
    assert rig.refused(ONE).reason == "DISK_FULL"
    assert rig.ensure(version(model=MODEL))


def test_what_came_before_is_not_counted_twice_by_the_quota(tmp_path: Path) -> None:
    rig = Rig(tmp_path, bytes_max=len(MODEL))
    rig.blobs.path(digest_of(MODEL)).with_suffix(".partial").write_bytes(MODEL[:10])
    assert rig.ensure(version(model=MODEL))
    assert rig.source.reads == [(digest_of(MODEL), 10)]


def test_two_that_are_fetched_at_once_do_not_pass_the_quota_together(tmp_path: Path) -> None:
    rig = Rig(tmp_path, bytes_max=len(MODEL) + 3)
    rig.blobs._source = rig.source = SlowSource(rig.source.contents)
    wanted = [version(model=MODEL).artifacts[0], version(samples=SAMPLES).artifacts[0]]

    async def both() -> list[object]:
        return await asyncio.gather(*map(rig.blobs.ensure, wanted), return_exceptions=True)

    assert sorted(getattr(done, "reason", "") for done in run(both())) == ["", "DISK_FULL"]
    assert len(rig.source.reads) == 1


def test_a_fetch_that_broke_holds_no_more_of_the_quota_than_came(tmp_path: Path) -> None:
    rig = Rig(tmp_path, bytes_max=len(MODEL) + len(SAMPLES) - 1)
    rig.source.broken[digest_of(MODEL)] = 0
    assert rig.refused(version(model=MODEL)).reason == "SOURCE_UNREACHABLE"
    assert rig.ensure(version(samples=SAMPLES))
    assert rig.refused(version(model=MODEL)).reason == "DISK_FULL"


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../up", "", "manifest.json"])
def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    bad = ModelVersion(name="m/1", artifacts=[Artifact(path=path, digest=digest_of(MODEL))])
    bad.digest = version_digest(bad.artifacts)
    error = Rig(tmp_path).refused(bad)
    assert (type(error), error.reason) == (Invalid, "BAD_PATH")


def test_a_version_whose_digest_is_not_that_of_its_artifacts_is_refused(tmp_path: Path) -> None:
    wrong = ModelVersion()
    wrong.CopyFrom(ONE)
    wrong.digest = "sha256:" + "0" * 64
    assert Rig(tmp_path).refused(wrong).reason == "DIGEST_MISMATCH"


def test_a_package_that_was_half_built_is_built_anew(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    unfinished = rig.artifacts.package(ONE.digest).with_suffix(".new")
    unfinished.mkdir()
    (unfinished / "model").write_bytes(b"half")
    assert (rig.ensure(ONE) / "model").read_bytes() == MODEL


@pytest.mark.parametrize("torn", [b"", b'{"name": "proj'])
def test_a_manifest_that_a_power_cut_took_is_written_anew(tmp_path: Path, torn: bytes) -> None:
    (Rig(tmp_path).ensure(ONE) / "manifest.json").write_bytes(torn)
    package = Rig(tmp_path).ensure(ONE)
    assert Parse((package / "manifest.json").read_text(), ModelVersion()) == ONE


def test_a_package_has_its_name_only_when_all_of_it_is_on_the_disk(tmp_path: Path) -> None:
    rig, done = Rig(tmp_path), []
    sync, rename = os.fsync, os.rename

    def noted(descriptor: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def named(old: Path, new: Path) -> None:
        done.append("its name")
        rename(old, new)

    with patch.multiple(os, fsync=noted, rename=named):
        package = rig.ensure(ONE)
    unfinished = package.with_suffix(".new")
    before, after = done[: done.index("its name")], done[done.index("its name") :]
    assert any(path.startswith(f"{unfinished}/.manifest.json") for path in before)
    assert {str(unfinished), str(unfinished / "deep")} <= set(before)
    assert str(package.parent) in after


def test_the_sweep_leaves_what_is_kept_and_nothing_else(tmp_path: Path) -> None:
    rig, two = Rig(tmp_path), version(model=MODEL)
    one = rig.ensure(ONE)
    kept = rig.ensure(two)
    kept.with_name("left.gone").mkdir()  # by an agent that was killed while it swept
    run(rig.artifacts.sweep([two]))
    assert not one.exists()
    assert list(kept.parent.iterdir()) == [kept]
    assert (kept / "model").read_bytes() == MODEL
    assert {path.name for path in rig.blobs._directory.iterdir()} == {digest_of(MODEL).removeprefix("sha256:")}
