"""A training platform in memory, and the two ways to follow it: directly, and over gRPC.

It keeps the promises of waypost.api.training.v1: a numbered log, a snapshot for who starts from 0, OUT_OF_RANGE for who
comes back too late, files by digest. And it breaks on demand, which is what it is for: see the knobs of `FakePlatform`.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from control_plane.artifacts.store import PIECE_BYTES_MAX
from waypost.api.training.v1 import training_pb2_grpc
from waypost.api.training.v1.training_pb2 import (
    ActivateRequest,
    ActivateResponse,
    DeployedVersion,
    FetchRequest,
    FetchResponse,
    PublishedApplication,
    PublishedFile,
    PublishedModel,
    PublishedVersion,
    ReportDeploymentRequest,
    ReportDeploymentResponse,
    SnapshotEnd,
    SubscribeRequest,
    SubscribeResponse,
    VersionKey,
)
from waypost.errors import NotFound, OutOfRange, Unauthenticated, Unavailable

ACTIVATION_TOKEN = "activate-me"  # of every fake platform
ACCESS_TOKEN = "let-me-in"


class FakePlatform:
    """What is published, and the log of how it came to be.

    Knobs, to be set at any time:
    away: every call fails with UNAVAILABLE. fetch_breaks_after_bytes: a fetch breaks once it has sent that many, once.
    withheld: files are published and cannot be fetched. garbled: files arrive with another first byte.
    """

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.away = False
        self.fetch_breaks_after_bytes: int | None = None
        self.withheld: set[str] = set()
        self.garbled: set[str] = set()
        self.reports: list[list[DeployedVersion]] = []
        self.subscribers: set[str] = set()
        """Names under which somebody has activated over gRPC."""
        self.fetched: list[tuple[str, int]] = []
        """(digest, offset) of every fetch."""
        self.revoked = False
        """The access token is good no longer, until somebody activates again."""
        self.log: list[SubscribeResponse] = []
        """Everything that ever happened."""
        self._kept_after = 0
        self._files: dict[str, bytes] = {}
        self._grown = asyncio.Event()
        self._breaks = 0

    # -- what a person does there

    def publish_application(self, application: str, **fields: Any) -> None:
        published = PublishedApplication(application=application, **fields)
        self._append(SubscribeResponse(application_published=published))

    def publish_model(self, application: str, model: str, **fields: Any) -> None:
        self._append(SubscribeResponse(model_published=PublishedModel(application=application, model=model, **fields)))

    def publish_version(
        self, application: str, model: str, version: str, files: Mapping[str, bytes], **fields: Any
    ) -> PublishedVersion:
        """files: content by path. Returns what the subscribers are told."""
        listed = [self._publish_file(path, content) for path, content in files.items()]
        fields = {"framework": "onnx", **fields}
        published = PublishedVersion(application=application, model=model, version=version, files=listed, **fields)
        self._append(SubscribeResponse(version_published=published))
        return published

    def withdraw_version(self, application: str, model: str, version: str) -> None:
        self._append(
            SubscribeResponse(version_withdrawn=VersionKey(application=application, model=model, version=version))
        )

    def withdraw_application(self, application: str) -> None:
        self._append(SubscribeResponse(application_withdrawn=application))

    def forget_log(self) -> None:
        """From now on the log does not reach back before this moment."""
        self._kept_after = self.sequence

    def break_streams(self) -> None:
        """Everyone who follows loses the stream, and may come back at once."""
        self._breaks += 1
        self._wake()

    @property
    def sequence(self) -> int:
        return len(self.log)

    def _publish_file(self, path: str, content: bytes) -> PublishedFile:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._files[digest] = content
        return PublishedFile(path=path, digest=digest, size_bytes=len(content))

    def _append(self, event: SubscribeResponse) -> None:
        event.sequence = self.sequence + 1
        self.log.append(event)
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    # -- what a subscriber asks

    def activate(self, token: str) -> str:
        self._answer()
        if token != ACTIVATION_TOKEN:
            raise Unauthenticated("BAD_ACTIVATION_TOKEN", f"{self.name} does not know this activation token")
        self.revoked = False
        return ACCESS_TOKEN

    def authorise(self, token: str) -> None:
        self._answer()
        if token != ACCESS_TOKEN or self.revoked:
            raise Unauthenticated("BAD_ACCESS_TOKEN", f"{self.name} does not take this access token")

    async def follow(self, after_sequence: int) -> AsyncGenerator[SubscribeResponse, None]:
        self._answer()
        breaks = self._breaks
        if not after_sequence:
            after_sequence = self.sequence
            for event in self._snapshot():
                yield event
        elif after_sequence < self._kept_after:
            raise OutOfRange("LOG_TOO_SHORT", f"the log of {self.name} begins after {self._kept_after}")
        while True:
            grown = self._grown
            for event in self.log[after_sequence:]:
                yield event
                after_sequence = event.sequence
            await grown.wait()
            if self.away or self._breaks != breaks:
                raise Unavailable("SOURCE_GONE", f"{self.name} broke off")

    def _snapshot(self) -> Sequence[SubscribeResponse]:
        """What is published now: the newest event of each thing that was not withdrawn, owners first."""
        newest: dict[tuple[str, ...], SubscribeResponse] = {}
        for event in self.log:
            match event.WhichOneof("event"):
                case "application_published":
                    newest[(event.application_published.application,)] = event
                case "model_published":
                    newest[(event.model_published.application, event.model_published.model)] = event
                case "version_published":
                    newest[_key(event.version_published)] = event
                case "version_withdrawn":
                    newest.pop(_key(event.version_withdrawn), None)
                case "application_withdrawn":
                    newest = {key: kept for key, kept in newest.items() if key[0] != event.application_withdrawn}
        events = [SubscribeResponse.FromString(newest[key].SerializeToString()) for key in sorted(newest, key=len)]
        for event in events:
            event.sequence = 0
        return [*events, SubscribeResponse(sequence=self.sequence, snapshot_end=SnapshotEnd())]

    async def fetch(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        self._answer()
        self.fetched.append((digest, offset))
        if digest not in self._files or digest in self.withheld:
            raise NotFound("FILE_NOT_FOUND", f"{self.name} does not publish {digest}")
        content = self._files[digest]
        if digest in self.garbled:
            content = bytes([content[0] ^ 1]) + content[1:]
        for start in range(offset, len(content), PIECE_BYTES_MAX):
            limit, self.fetch_breaks_after_bytes = self.fetch_breaks_after_bytes, None
            yield content[start : start + min(PIECE_BYTES_MAX, limit or PIECE_BYTES_MAX)]
            if limit is not None:
                raise Unavailable("SOURCE_GONE", f"{self.name} broke off")

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("SOURCE_AWAY", f"{self.name} cannot be reached")


class FakeSource:
    """A `ModelSource` right on a `FakePlatform`, without a wire."""

    def __init__(self, platform: FakePlatform, activation_token: str = ACTIVATION_TOKEN) -> None:
        self._platform = platform
        self._token = activation_token

    async def activate(self) -> str:
        self._platform.activate(self._token)
        return self._platform.name

    def follow(self, after_sequence: int) -> AsyncGenerator[SubscribeResponse, None]:
        return self._platform.follow(after_sequence)

    def fetch(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        return self._platform.fetch(digest, offset)

    async def report(self, versions: Sequence[DeployedVersion]) -> None:
        self._platform.authorise(ACCESS_TOKEN)
        self._platform.reports.append(list(versions))

    async def close(self) -> None:
        """Nothing is held."""

    async def forget(self) -> None:
        """Nothing is kept."""


class FakeTrainingService(training_pb2_grpc.TrainingServiceServicer):
    """A `FakePlatform` served as waypost.api.training.v1."""

    def __init__(self, platform: FakePlatform) -> None:
        self._platform = platform

    async def Activate(self, request: ActivateRequest, context: Any) -> ActivateResponse:  # noqa: N802
        token = self._platform.activate(request.activation_token)
        self._platform.subscribers.add(request.subscriber)
        return ActivateResponse(access_token=token, source=self._platform.name)

    async def Subscribe(self, request: SubscribeRequest, context: Any) -> AsyncIterator[SubscribeResponse]:  # noqa: N802
        self._authorise(context)
        async for event in self._platform.follow(request.after_sequence):
            yield event

    async def Fetch(self, request: FetchRequest, context: Any) -> AsyncIterator[FetchResponse]:  # noqa: N802
        self._authorise(context)
        async for data in self._platform.fetch(request.digest, request.offset):
            yield FetchResponse(data=data)

    async def ReportDeployment(  # noqa: N802
        self, request: ReportDeploymentRequest, context: Any
    ) -> ReportDeploymentResponse:
        self._authorise(context)
        self._platform.reports.append(list(request.versions))
        return ReportDeploymentResponse()

    def _authorise(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        self._platform.authorise(str(metadata.get("authorization", "")).removeprefix("Bearer "))


def _key(version: PublishedVersion | VersionKey) -> tuple[str, str, str]:
    return version.application, version.model, version.version
