"""The content-addressed store: whole or not at all, resumable, never wrong."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.artifacts.store import PIECE_BYTES_MAX, ArtifactStore, check_digest
from tests.unit.control_plane.scenario import scenario
from waypost.errors import DataLoss, Exhausted, Invalid, MeshError, NotFound, OutOfRange, Unavailable

CONTENT = bytes(range(256)) * 4096  # 1 MiB: four pieces


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


DIGEST = digest_of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path).open()


async def pieces(content: bytes, offset: int = 0, step: int = PIECE_BYTES_MAX) -> AsyncGenerator[bytes, None]:
    for start in range(offset, len(content), step):
        yield content[start : start + step]


async def read(store: ArtifactStore, digest: str, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in store.read(digest, offset)])


def lying_around(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


@scenario
async def test_what_was_written_is_read_back(store: ArtifactStore) -> None:
    await store.write(DIGEST, len(CONTENT), pieces(CONTENT))
    assert await read(store, DIGEST) == CONTENT
    assert store.size_bytes(DIGEST) == len(CONTENT)
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o400


@scenario
async def test_an_artifact_may_be_empty(store: ArtifactStore) -> None:
    await store.write(digest_of(b""), 0, pieces(b""))
    assert await read(store, digest_of(b"")) == b""


@given(content=st.binary(max_size=2000), data=st.data())
def test_any_offset_gives_the_rest(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(0, len(content)))
    step = data.draw(st.integers(1, 500))

    async def run() -> None:
        store = ArtifactStore(tmp_path_factory.mktemp("store")).open()
        await store.write(digest_of(content), len(content), pieces(content, step=step))
        assert await read(store, digest_of(content), offset) == content[offset:]

    asyncio.run(run())


@scenario
async def test_reading_comes_in_pieces_of_bounded_size(store: ArtifactStore) -> None:
    await store.write(DIGEST, len(CONTENT), pieces(CONTENT, step=100_000))
    assert {len(piece) async for piece in store.read(DIGEST)} == {PIECE_BYTES_MAX}


@scenario
async def test_reading_what_is_not_there_says_so(store: ArtifactStore) -> None:
    with pytest.raises(NotFound) as unknown:
        await read(store, DIGEST)
    assert unknown.value.reason == "ARTIFACT_NOT_FOUND"
    await store.write(DIGEST, len(CONTENT), pieces(CONTENT))
    for offset in (-1, len(CONTENT) + 1):
        with pytest.raises(OutOfRange):
            await read(store, DIGEST, offset)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, "md5:" + "a" * 32, "sha256:../../etc/passwd"])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_digest(digest)
    assert refused.value.reason == "BAD_DIGEST"


@pytest.mark.parametrize(
    ("size", "content", "reason"),
    [
        (len(CONTENT), CONTENT[:-1] + b"?", "DIGEST_MISMATCH"),
        (len(CONTENT), CONTENT[:-1], "SIZE_MISMATCH"),
        (len(CONTENT), CONTENT + b"?", "SIZE_MISMATCH"),
    ],
)
@scenario
async def test_wrong_bytes_leave_nothing_behind(
    store: ArtifactStore, tmp_path: Path, size: int, content: bytes, reason: str
) -> None:
    with pytest.raises(DataLoss) as refused:
        await store.write(DIGEST, size, pieces(content))
    assert refused.value.reason == reason
    with pytest.raises(DataLoss):
        await store.fetch(DIGEST, size, lambda offset: pieces(content, offset))
    assert lying_around(tmp_path) == []


@scenario
async def test_a_size_that_no_disk_has_is_refused_before_anything_is_written(store: ArtifactStore) -> None:
    with pytest.raises(Invalid) as refused:
        await store.write(DIGEST, 1 << 60, pieces(CONTENT))
    assert refused.value.reason == "BAD_SIZE"


@scenario
async def test_a_fetch_that_broke_goes_on_where_it_ended(tmp_path: Path) -> None:
    asked: list[int] = []

    async def breaking(offset: int) -> AsyncGenerator[bytes, None]:
        asked.append(offset)
        yield CONTENT[offset : offset + PIECE_BYTES_MAX]
        if len(asked) < 3:
            raise Unavailable("GONE", "the wire broke")
        async for piece in pieces(CONTENT, offset + PIECE_BYTES_MAX):
            yield piece

    for _ in range(2):
        with pytest.raises(Unavailable):
            await ArtifactStore(tmp_path).open().fetch(DIGEST, len(CONTENT), breaking)  # a new process each time
    store = ArtifactStore(tmp_path).open()
    await store.fetch(DIGEST, len(CONTENT), breaking)
    assert asked == [0, PIECE_BYTES_MAX, 2 * PIECE_BYTES_MAX]
    assert await read(store, DIGEST) == CONTENT
    assert lying_around(tmp_path) == [DIGEST.removeprefix("sha256:")]


@pytest.mark.parametrize("left", [b"torn" * 10, CONTENT + b"too much"])
@scenario
async def test_what_an_earlier_process_left_torn_is_fetched_again_whole(
    store: ArtifactStore, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "incoming" / DIGEST.removeprefix("sha256:")).write_bytes(left)
    await store.fetch(DIGEST, len(CONTENT), lambda offset: pieces(CONTENT, offset))
    assert await read(store, DIGEST) == CONTENT


@scenario
async def test_two_fetches_of_one_artifact_share_the_work(store: ArtifactStore) -> None:
    asked: list[int] = []

    def fetched(offset: int) -> AsyncGenerator[bytes, None]:
        asked.append(offset)
        return pieces(CONTENT, offset)

    await asyncio.gather(*(store.fetch(DIGEST, len(CONTENT), fetched) for _ in range(3)))
    assert asked == [0]


@scenario
async def test_two_uploads_of_one_artifact_do_not_meet(store: ArtifactStore, tmp_path: Path) -> None:
    await asyncio.gather(*(store.write(DIGEST, len(CONTENT), pieces(CONTENT)) for _ in range(3)))
    assert await read(store, DIGEST) == CONTENT
    assert lying_around(tmp_path) == [DIGEST.removeprefix("sha256:")]


@scenario
async def test_an_upload_that_its_caller_left_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    async def breaking() -> AsyncGenerator[bytes, None]:
        yield CONTENT[:100]
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await store.write(DIGEST, len(CONTENT), breaking())
    assert lying_around(tmp_path) == []


def test_a_start_clears_uploads_of_a_killed_process_and_keeps_fetches(tmp_path: Path) -> None:
    ArtifactStore(tmp_path).open()
    (tmp_path / "incoming" / "abc").write_bytes(b"of a fetch")
    (tmp_path / "incoming" / "abc.1234").write_bytes(b"of an upload")
    ArtifactStore(tmp_path).open()
    assert lying_around(tmp_path) == ["abc"]


class FullDisk:
    """A file on a disk that takes `room` bytes more."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._room = room

    def write(self, data: bytes) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@scenario
async def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ArtifactStore(tmp_path).open()
    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, 500_000))
    attempts: list[Callable[[], Any]] = [
        lambda: store.write(DIGEST, len(CONTENT), pieces(CONTENT)),
        lambda: store.fetch(DIGEST, len(CONTENT), lambda offset: pieces(CONTENT, offset)),
    ]
    for attempt in attempts:
        with pytest.raises(Exhausted) as full:
            await attempt()
        assert full.value.reason == "DISK_FULL"
        assert "free disk space" in full.value.hint
        assert lying_around(tmp_path) == []


@scenario
async def test_errors_carry_the_digest(store: ArtifactStore) -> None:
    with pytest.raises(MeshError) as unknown:
        store.path(DIGEST)
    assert unknown.value.metadata == {"digest": DIGEST}
