"""`training.v1` over gRPC: what subscribers call."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from training_platform.access import Access
from training_platform.catalogue import Event
from training_platform.deployments import Deployments
from training_platform.journal import Journal
from training_platform.layout import Digests, version_directory
from waypost.api.training.v1 import training_pb2, training_pb2_grpc
from waypost.errors import DataLoss, Denied, NotFound, OutOfRange

FETCH_BYTES = 256 * 1024  # the contract's limit on one message
ACTIVATE = "/waypost.api.training.v1.TrainingService/Activate"


class Bell:
    """Wakes everybody who waits to look again; who comes late looks first and misses nothing."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.closing = False

    def listen(self) -> asyncio.Event:
        """Set at the next ring. Take it before looking."""
        return self._rung

    def ring(self) -> None:
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    def close(self) -> None:
        """Ends all subscriptions; subscribers come back with their last sequence."""
        self.closing = True
        self.ring()


class TrainingService(training_pb2_grpc.TrainingServiceServicer):
    """One directory's publications. `authorise` is for `mesh.serve.grpc_server`."""

    def __init__(
        self, root: Path, source: str, journal: Journal, digests: Digests, access: Access, deployments: Deployments
    ) -> None:
        self.bell = Bell()
        self._root = root
        self._source = source
        self._journal = journal
        self._digests = digests
        self._access = access
        self._deployments = deployments

    async def authorise(self, method: str, context: Any, request: Any) -> None:
        """Everything but Activate needs an access token. Raises: Unauthenticated."""
        if method != ACTIVATE:
            self._access.subscriber(context.invocation_metadata())

    async def Activate(  # noqa: N802
        self, request: training_pb2.ActivateRequest, context: Any
    ) -> training_pb2.ActivateResponse:
        token = self._access.activate(request.subscriber, request.activation_token)
        return training_pb2.ActivateResponse(access_token=token, source=self._source)

    async def Subscribe(  # noqa: N802
        self, request: training_pb2.SubscribeRequest, context: Any
    ) -> AsyncIterator[training_pb2.SubscribeResponse]:
        told = request.after_sequence
        if told == 0:
            told = self._journal.last
            for event in self._snapshot():
                yield event
        while not self.bell.closing:
            rung = self.bell.listen()
            for event in self._journal.after(told):
                yield event
                told = event.sequence
            await rung.wait()

    async def Fetch(  # noqa: N802
        self, request: training_pb2.FetchRequest, context: Any
    ) -> AsyncIterator[training_pb2.FetchResponse]:
        path, size = self._published(request.digest)
        if not 0 <= request.offset <= size:
            raise OutOfRange("BAD_OFFSET", f"offset {request.offset} is outside a file of {size} bytes")
        await asyncio.to_thread(self._check, path, request.digest)
        with path.open("rb") as file:
            file.seek(request.offset)
            while data := await asyncio.to_thread(file.read, FETCH_BYTES):
                yield training_pb2.FetchResponse(data=data)

    async def ReportDeployment(  # noqa: N802
        self, request: training_pb2.ReportDeploymentRequest, context: Any
    ) -> training_pb2.ReportDeploymentResponse:
        subscriber = self._access.subscriber(context.invocation_metadata())
        if request.subscriber not in ("", subscriber):
            raise Denied("OTHER_SUBSCRIBER", f"the token is {subscriber!r}'s, the report {request.subscriber!r}'s")
        self._deployments.report(subscriber, request)
        return training_pb2.ReportDeploymentResponse()

    def _snapshot(self) -> list[Event]:
        end = Event(sequence=self._journal.last, snapshot_end=training_pb2.SnapshotEnd())
        return [*self._journal.catalogue.snapshot(), end]

    def _published(self, digest: str) -> tuple[Path, int]:
        """A published file with this digest. Raises: NotFound(NOT_PUBLISHED)."""
        for key, version in self._journal.catalogue.versions.items():
            for file in version.files:
                if file.digest == digest:
                    return version_directory(self._root, key) / file.path, file.size_bytes
        raise NotFound("NOT_PUBLISHED", f"no published version has a file {digest}")

    def _check(self, path: Path, digest: str) -> None:
        """Raises: DataLoss(FILE_CHANGED) where the bytes on disk are no longer those that were published."""
        try:
            found = self._digests.of(path)
        except OSError as error:
            raise DataLoss("FILE_CHANGED", f"{path.name} cannot be read: {error.strerror}") from error
        if found != digest:
            raise DataLoss("FILE_CHANGED", f"{path.name} is not what was published as {digest}")
