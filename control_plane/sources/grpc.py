"""A training platform that serves waypost.api.training.v1: the reference implementation of `ModelSource`.

The activation token is exchanged once for an access token, which is kept in a file of our own (0600), named by the
subscription's uid so that a subscription made anew activates anew. An access token that the platform no longer takes
is forgotten, and the next `activate` asks for another one.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc.aio

from mesh.files import write_atomically
from mesh.serve import is_loopback, split_address
from waypost.api.control.v1.subscription_pb2 import Subscription
from waypost.api.training.v1 import training_pb2_grpc
from waypost.api.training.v1.training_pb2 import (
    ActivateRequest,
    DeployedVersion,
    FetchRequest,
    ReportDeploymentRequest,
    SubscribeRequest,
    SubscribeResponse,
)
from waypost.errors import OutOfRange, Precondition, Unauthenticated, Unavailable
from waypost.rpc import Tls, open_aio_channel

if TYPE_CHECKING:
    from waypost.api.training.v1.training_pb2_grpc import TrainingServiceAsyncStub

CALL_S_MAX = 10.0  # an answer of a few bytes that takes longer will not come


class GrpcSource:
    """One subscription's training platform, over a channel that is opened when it is first needed."""

    def __init__(self, subscription: Subscription, directory: Path) -> None:
        """directory: where access tokens are kept, private to this user."""
        self._spec = subscription.spec
        self._subscriber = f"waypost {subscription.name} {subscription.uid}"  # several of us may follow one platform
        self._kept = directory / f"{subscription.uid}.json"
        self._channel: grpc.aio.Channel | None = None

    async def activate(self) -> str:
        if self._kept.exists():
            return str(self._access()["source"])
        request = ActivateRequest(subscriber=self._subscriber, activation_token=self._spec.activation_token)
        answer = await self._stub().Activate(request, timeout=CALL_S_MAX)
        kept = {"access_token": answer.access_token, "source": answer.source}
        write_atomically(self._kept, json.dumps(kept).encode())
        return answer.source

    async def follow(self, after_sequence: int) -> AsyncGenerator[SubscribeResponse, None]:
        request = SubscribeRequest(after_sequence=after_sequence)
        async with aclosing(self._stream(self._stub().Subscribe, request)) as responses:
            async for response in responses:
                yield response
        raise Unavailable("SOURCE_ENDED", f"{self._spec.endpoint} ended the subscription's stream")

    async def fetch(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        request = FetchRequest(digest=digest, offset=offset)
        try:
            async with aclosing(self._stream(self._stub().Fetch, request)) as responses:
                async for response in responses:
                    yield response.data
        except OutOfRange:
            return  # all of it is here already; whether it is right, the digest tells

    async def report(self, versions: Sequence[DeployedVersion]) -> None:
        request = ReportDeploymentRequest(subscriber=self._subscriber, versions=versions)
        try:
            await self._stub().ReportDeployment(request, timeout=CALL_S_MAX, metadata=self._metadata())
        except Unauthenticated:
            self._forget()
            raise

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def forget(self) -> None:
        await self.close()
        self._forget()

    def _stub(self) -> "TrainingServiceAsyncStub":
        """Raises Precondition (INSECURE_ADDRESS)."""
        if self._channel is None:
            self._channel = open_aio_channel(self._spec.endpoint, tls=_tls(self._spec.endpoint, self._spec.ca_pem))
        return cast("TrainingServiceAsyncStub", training_pb2_grpc.TrainingServiceStub(self._channel))

    async def _stream(self, method: Any, request: Any) -> AsyncGenerator[Any, None]:
        responses = method(request, metadata=self._metadata())
        try:
            async with aclosing(responses):
                async for response in responses:
                    yield response
        except Unauthenticated:
            self._forget()
            raise

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._access()['access_token']}"),)

    def _access(self) -> dict[str, str]:
        try:
            kept: dict[str, str] = json.loads(self._kept.read_bytes())
        except FileNotFoundError as error:
            raise Unauthenticated("NOT_ACTIVATED", f"{self._spec.endpoint} has not been activated yet") from error
        return kept

    def _forget(self) -> None:
        self._kept.unlink(missing_ok=True)


def _tls(endpoint: str, ca_pem: str) -> Tls | None:
    if ca_pem:
        return Tls(roots=ca_pem.encode())
    if not is_loopback(split_address(endpoint)[0]):
        raise Precondition(
            "INSECURE_ADDRESS",
            f"training platform {endpoint} is on another machine and the subscription names no roots to trust",
            "create the subscription with ca_pem (`--ca-file FILE`)",
        )
    return None
