"""Uploads by people and reads by edge servers, without a wire."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from control_plane.artifacts.service import ArtifactService, ArtifactSourceService
from control_plane.artifacts.store import PIECE_BYTES_MAX, ArtifactStore
from tests.unit.control_plane.scenario import scenario
from waypost.api.control.v1.artifact_pb2 import WriteArtifactRequest, WriteArtifactResponse
from waypost.api.link.v1.artifact_source_pb2 import ReadArtifactRequest
from waypost.errors import DataLoss, Invalid, NotFound, OutOfRange

CONTENT = b"model" * 100_000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def upload(*sent: WriteArtifactRequest) -> AsyncIterator[WriteArtifactRequest]:
    async def messages() -> AsyncIterator[WriteArtifactRequest]:
        for message in sent:
            yield message

    return messages()


def chunks(content: bytes = CONTENT) -> Sequence[WriteArtifactRequest]:
    pieces = [content[at : at + PIECE_BYTES_MAX] for at in range(0, len(content), PIECE_BYTES_MAX)]
    first = WriteArtifactRequest(digest=DIGEST, size_bytes=len(CONTENT), data=pieces[0])
    return [first, *(WriteArtifactRequest(data=piece) for piece in pieces[1:])]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path).open()


@scenario
async def test_an_upload_is_read_back_by_digest(store: ArtifactStore) -> None:
    answer = await ArtifactService(store).WriteArtifact(upload(*chunks()), None)
    assert answer == WriteArtifactResponse(digest=DIGEST, size_bytes=len(CONTENT))
    request = ReadArtifactRequest(digest=DIGEST, offset=7)
    read = [response.data async for response in ArtifactSourceService(store).ReadArtifact(request, None)]
    assert b"".join(read) == CONTENT[7:]
    assert max(map(len, read)) <= PIECE_BYTES_MAX


@scenario
async def test_an_artifact_that_is_stored_already_is_answered_at_once(store: ArtifactStore) -> None:
    service = ArtifactService(store)
    await service.WriteArtifact(upload(*chunks()), None)
    assert (await service.WriteArtifact(upload(chunks()[0]), None)).size_bytes == len(CONTENT)


@scenario
async def test_the_wrong_bytes_are_data_loss(store: ArtifactStore) -> None:
    with pytest.raises(DataLoss):
        await ArtifactService(store).WriteArtifact(upload(*chunks(b"wrong" * 100_000)), None)
    assert not store.has(DIGEST)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([], "BAD_DIGEST"),
        ([WriteArtifactRequest(data=b"x")], "BAD_DIGEST"),
        ([WriteArtifactRequest(digest=DIGEST, size_bytes=-1)], "BAD_SIZE"),
        ([*chunks()[:1], WriteArtifactRequest(digest=DIGEST)], "BAD_UPLOAD"),
        ([WriteArtifactRequest(digest=DIGEST, size_bytes=1 << 20, data=b"x" * (1 << 20))], "PIECE_TOO_LARGE"),
    ],
)
@scenario
async def test_a_malformed_upload_is_refused(
    store: ArtifactStore, sent: Sequence[WriteArtifactRequest], reason: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await ArtifactService(store).WriteArtifact(upload(*sent), None)
    assert refused.value.reason == reason


@pytest.mark.parametrize(("offset", "error"), [(0, NotFound), (-1, NotFound)])
@scenario
async def test_reading_what_is_not_stored(store: ArtifactStore, offset: int, error: type[Exception]) -> None:
    service = ArtifactSourceService(store)
    with pytest.raises(error):
        [r async for r in service.ReadArtifact(ReadArtifactRequest(digest=DIGEST, offset=offset), None)]


@scenario
async def test_reading_beyond_the_end(store: ArtifactStore) -> None:
    await ArtifactService(store).WriteArtifact(upload(*chunks()), None)
    request = ReadArtifactRequest(digest=DIGEST, offset=len(CONTENT) + 1)
    with pytest.raises(OutOfRange):
        [response async for response in ArtifactSourceService(store).ReadArtifact(request, None)]
