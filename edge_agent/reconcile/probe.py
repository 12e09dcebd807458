"""Calls through the gateway, as an xApp makes them: to prove a position, and for people who try it out.

A position is IN_SERVICE only after such a call has succeeded: whatever route, socket, key or model is wrong, it shows
here. The access token is minted with the position's own key, its subject is `agent`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mesh import clock
from mesh.tokens import mint
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest, ModelInferResponse
from waypost.errors import Invalid, MeshError, Unavailable
from waypost.rpc import open_aio_channel

METHOD = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE_S = 10.0  # for one probe: a large model on a busy machine
CALLER = "agent"


@dataclass(frozen=True, slots=True)
class Answer:
    """`digest`: of the version that answered; empty where it did not say."""

    response: ModelInferResponse
    digest: str


class Probe(Protocol):
    async def infer(self, uid: str, signing_key: Path, request: ModelInferRequest, *, timeout_s: float) -> Answer:
        """One call to the position of this uid, through the gateway. Raises: MeshError."""


class GatewayProbe:
    """Over one channel to the gateway."""

    def __init__(self, address: str) -> None:
        self._channel = open_aio_channel(address)
        self._call: Any = self._channel.unary_unary(
            METHOD,
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )

    async def infer(self, uid: str, signing_key: Path, request: ModelInferRequest, *, timeout_s: float) -> Answer:
        token = mint(_read(signing_key), audience=uid, subject=CALLER, client=CALLER, now=clock.now())
        metadata = (("waypost-position", uid), ("authorization", f"Bearer {token}"))
        response, call = await self._call.with_call(request, timeout=timeout_s, metadata=metadata)
        facts = dict([*(await call.initial_metadata()), *(await call.trailing_metadata())])
        return Answer(response, str(facts.get("waypost-model-digest", "")))

    async def close(self) -> None:
        await self._channel.close()


class FakeProbe:
    """Answers as it is told, by uid."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        """answer: may raise MeshError."""
        self._answer = answer
        self.calls = 0

    async def infer(self, uid: str, signing_key: Path, request: ModelInferRequest, *, timeout_s: float) -> Answer:
        self.calls += 1
        return self._answer(uid)


async def prove(probe: Probe, uid: str, signing_key: Path, requests: Sequence[ModelInferRequest]) -> Answer:
    """The answer to the first request that fits. Raises: MeshError, where none does that of the first."""
    refusal: MeshError | None = None
    for request in requests:
        try:
            return await probe.infer(uid, signing_key, request, timeout_s=PATIENCE_S)
        except Invalid as error:  # sizes that vary were guessed: perhaps the next guess
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _read(signing_key: Path) -> bytes:
    try:
        return signing_key.read_bytes()
    except OSError as error:
        raise Unavailable("NO_KEY_FILE", f"{signing_key} cannot be read: {error.strerror}") from error
