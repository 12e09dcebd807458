"""The SDK's calls as scripts: what to do next, without doing it.

A script is a generator. It yields a `Call` and is sent the `Reply` (or thrown the MeshError), or yields a `Pause`;
what it returns is the result. `client.py` plays scripts with blocking calls, `aio.py` with awaits, tests with lists:
so the rules for deadlines, tokens and retries exist once, and run without a socket.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from waypost.api.inference.v1 import inference_pb2
from waypost.api.xapp.v1 import access_pb2


class Message(Protocol):
    """A protobuf message, as far as grpc needs it."""

    def SerializeToString(self) -> bytes: ...  # noqa: N802

    @classmethod
    def FromString(cls, data: bytes) -> Self: ...  # noqa: N802

    def ByteSize(self) -> int: ...  # noqa: N802


@dataclass(frozen=True, slots=True)
class Rpc:
    """A unary method: its path on the wire and the message that answers."""

    path: str
    response: type[Message]
    idempotent: bool
    """Whether it may be repeated when it is not known to have run. Inference asks the position instead."""


_ACCESS = "/waypost.api.xapp.v1.AccessService/"
_OIP = "/inference.GRPCInferenceService/"  # the public protocol's name; the messages are ours, byte for byte the same

REGISTER = Rpc(_ACCESS + "Register", access_pb2.RegisterResponse, idempotent=True)
RENEW = Rpc(_ACCESS + "Renew", access_pb2.RenewResponse, idempotent=True)
REPORT_LOOPS = Rpc(_ACCESS + "ReportLoops", access_pb2.ReportLoopsResponse, idempotent=False)
MODEL_METADATA = Rpc(_OIP + "ModelMetadata", inference_pb2.ModelMetadataResponse, idempotent=True)
MODEL_INFER = Rpc(_OIP + "ModelInfer", inference_pb2.ModelInferResponse, idempotent=False)

RPCS = (REGISTER, RENEW, REPORT_LOOPS, MODEL_METADATA, MODEL_INFER)


@dataclass(frozen=True, slots=True)
class Call:
    rpc: Rpc
    request: Message
    metadata: tuple[tuple[str, str], ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    message: Any
    """Of the type that `Rpc.response` says."""
    headers: Mapping[str, str]
    """Reply metadata whose keys begin with `waypost-`."""


T = TypeVar("T")
Steps = Generator[Call | Pause, Reply | None, T]
"""A script that returns T."""


def methods(channel: Any) -> dict[str, Any]:
    """What to call for each `Rpc.path`, on a sync channel or an asyncio one."""
    return {rpc.path: channel.unary_unary(rpc.path, _serialize, rpc.response.FromString) for rpc in RPCS}


def headers(*metadata: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    """Ours among a call's initial and trailing metadata."""
    pairs = (pair for part in metadata for pair in part or ())
    return {key: value for key, value in pairs if key.startswith("waypost-") and isinstance(value, str)}


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
