"""The artifact store over gRPC: written by people on the API port, read by edge servers on the link port."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from control_plane.artifacts.store import PIECE_BYTES_MAX
from waypost.api.control.v1 import artifact_pb2_grpc
from waypost.api.control.v1.artifact_pb2 import WriteArtifactRequest, WriteArtifactResponse
from waypost.api.link.v1 import artifact_source_pb2_grpc
from waypost.api.link.v1.artifact_source_pb2 import ReadArtifactRequest, ReadArtifactResponse
from waypost.errors import Invalid


class Writable(Protocol):
    """What of the artifact stores is needed to write."""

    async def write(self, digest: str, size_bytes: int, pieces: AsyncIterator[bytes]) -> None: ...


class Readable(Protocol):
    """What of the artifact stores is needed to read."""

    def read(self, digest: str, offset: int = 0) -> AsyncGenerator[bytes, None]: ...


class ArtifactService(artifact_pb2_grpc.ArtifactServiceServicer):
    """control.v1.ArtifactService."""

    def __init__(self, artifacts: Writable) -> None:
        self._artifacts = artifacts

    async def WriteArtifact(  # noqa: N802  named by the proto
        self, request_iterator: AsyncIterator[WriteArtifactRequest], context: Any
    ) -> WriteArtifactResponse:
        messages = aiter(request_iterator)
        first = await anext(messages, WriteArtifactRequest())
        await self._artifacts.write(first.digest, first.size_bytes, _pieces(first, messages))
        return WriteArtifactResponse(digest=first.digest, size_bytes=first.size_bytes)


class ArtifactSourceService(artifact_source_pb2_grpc.ArtifactSourceServiceServicer):
    """link.v1.ArtifactSourceService: whatever lies here or with a peer."""

    def __init__(self, artifacts: Readable) -> None:
        self._artifacts = artifacts

    async def ReadArtifact(  # noqa: N802  named by the proto
        self, request: ReadArtifactRequest, context: Any
    ) -> AsyncIterator[ReadArtifactResponse]:
        async with aclosing(self._artifacts.read(request.digest, request.offset)) as pieces:
            async for piece in pieces:
                yield ReadArtifactResponse(data=piece)


async def _pieces(first: WriteArtifactRequest, messages: AsyncIterator[WriteArtifactRequest]) -> AsyncIterator[bytes]:
    yield _piece(first)
    async for message in messages:
        if message.digest or message.size_bytes:
            raise Invalid("BAD_UPLOAD", "digest and size_bytes belong into the first message only")
        yield _piece(message)


def _piece(message: WriteArtifactRequest) -> bytes:
    if len(message.data) > PIECE_BYTES_MAX:
        raise Invalid("PIECE_TOO_LARGE", f"a message carries at most {PIECE_BYTES_MAX} bytes, got {len(message.data)}")
    return message.data
