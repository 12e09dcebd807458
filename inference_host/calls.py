"""What passes between the faces and the data plane: plain values, no transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference_host.signature import Signature
from inference_host.tensors import Tensor
from waypost.errors import Unsupported

_UNSUPPORTED = ("classification", "shared_memory_region")


@dataclass(frozen=True, slots=True)
class Call:
    """An inference request, decoded."""

    model: str
    version: str
    inputs: Sequence[Tensor]
    id: str = ""
    outputs: Sequence[str] = ()
    """Empty: all."""
    deadline: float | None = None
    """On the meter's clock; None: none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. model, version: ids of the real ones, whatever the caller called them."""

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of a model."""

    name: str
    version: str
    platform: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the repository index."""

    name: str
    version: str
    state: str
    reason: str


def refuse_unsupported(tensor: str, parameters: Mapping[str, object]) -> None:
    """Raises: Unsupported(UNSUPPORTED_PARAMETER) where ignoring a tensor's parameter would change the answer."""
    for parameter in _UNSUPPORTED:
        if parameter in parameters:
            raise Unsupported("UNSUPPORTED_PARAMETER", f"tensor {tensor!r}: {parameter} is not supported here")
