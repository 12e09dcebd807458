"""Requests to try a position with: from its version's `samples.json`, else made up from the signature. Pure.

The host has warmed up with the very same inputs, so what does not fit here did not fit there either.
"""

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from waypost.api.control.v1.model_pb2 import Signature
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest
from waypost.errors import Precondition

SAMPLES = "samples.json"
SAMPLES_BYTES_MAX = 16 << 20  # as the host has it
SIZES = (1, 8, 64, 224)  # for dimensions that vary, in the order in which the host tries them
ELEMENTS_MAX = 4 << 20  # of one made-up input: 16 MB of FP32

_FORMATS = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


def probe_requests(signature: Signature, samples: bytes | None, model: str) -> list[ModelInferRequest]:
    """Requests of which one must succeed. samples: the content of samples.json, None where there is none.

    Raises: Precondition(BAD_SAMPLES | NO_SIGNATURE).
    """
    if samples is not None:
        return [_from_samples(samples, model)]
    if not signature.inputs:
        raise Precondition(
            "NO_SIGNATURE", "nobody says what the model takes", "publish the version with a signature or a samples.json"
        )
    varies = any(-1 in spec.shape[1:] for spec in signature.inputs)
    return [made_up(signature, size, model) for size in (SIZES if varies else SIZES[:1])]


def made_up(signature: Signature, size: int, model: str) -> ModelInferRequest:
    """Floats are 0.5 and integers 0, which is a good index everywhere. A batch has one row."""
    request = ModelInferRequest(model_name=model, id="probe")
    for spec in signature.inputs:
        shape = [given if given >= 0 else (1 if axis == 0 else size) for axis, given in enumerate(spec.shape)]
        count = math.prod(shape)
        if count > ELEMENTS_MAX:
            raise Precondition("NO_SAMPLES", f"input {spec.name} is too large to make up", "add a samples.json")
        value: Any = {"BYTES": "sample", "BOOL": False}.get(spec.datatype, 0.5 if "FP" in spec.datatype else 0)
        value = 0.5 if spec.datatype == "BF16" else value
        _add(request, spec.name, spec.datatype, shape, [value] * count)
    return request


def _from_samples(samples: bytes, model: str) -> ModelInferRequest:
    """The first of the samples, which are inference requests in JSON."""
    request = ModelInferRequest(model_name=model, id="probe")
    try:
        content = json.loads(samples)
        first: Mapping[str, Any] = content[0] if isinstance(content, list) else content
        for tensor in first["inputs"]:
            values = list(_flat(tensor["data"]))
            _add(request, tensor["name"], tensor["datatype"], tensor["shape"], values)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as error:
        raise Precondition(
            "BAD_SAMPLES",
            f"{SAMPLES} holds no inference request: {error!r}",
            'write it like a request: {"inputs": [{"name": ..., "datatype": ..., "shape": ..., "data": [...]}]}',
        ) from error
    return request


def _add(request: ModelInferRequest, name: str, datatype: str, shape: Sequence[int], values: Sequence[Any]) -> None:
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    request.raw_input_contents.append(_encoded(datatype, values))


def _encoded(datatype: str, values: Sequence[Any]) -> bytes:
    """Little-endian and row-major, as the protocol has it. Raises: KeyError, struct.error."""
    if datatype == "BYTES":
        texts = [value.encode() if isinstance(value, str) else bytes(value) for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "BF16":  # the upper half of a FP32
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{len(values)}{_FORMATS[datatype]}", *values)


def _flat(data: Any) -> Iterator[Any]:
    """Nested lists, or a flat one, in order."""
    if isinstance(data, list):
        for entry in data:
            yield from _flat(entry)
    else:
        yield data
