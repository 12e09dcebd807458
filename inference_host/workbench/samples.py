"""samples.json: requests that a model must answer, and what it is expected to answer.

    [{"inputs":  [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}],
      "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [10]}]}]

Each sample is an inference request of the Open Inference Protocol in JSON, so it can be sent with curl as it is: a
request names the outputs that it wants, and hosts read no further. What they are expected to be stands beside their
names, in the form of an answer, and may be left out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from inference_host.model.template import Arrays
from inference_host.values import oip_json
from inference_host.values.signature import Signature, made_up_inputs
from inference_host.values.tensors import Buffer, Tensor, from_raw, from_values, to_raw, to_values
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid, MeshError, Precondition


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, and the answer that is expected."""

    inputs: tuple[Tensor, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    expected: tuple[Tensor, ...] = ()
    """Some of the outputs, or none."""


def read(path: Path) -> list[Sample]:
    """Raises: Precondition(BAD_SAMPLES)."""
    try:
        return parsed(path.read_bytes())
    except (OSError, ValueError, MeshError) as error:
        hint = "see docs/serving.md, or let `waypost host test DIR --record` write the outputs"
        raise Precondition("BAD_SAMPLES", f"{path.name}: {error}", hint) from error


def parsed(content: bytes) -> list[Sample]:
    """Raises: Invalid, ValueError."""
    requests = orjson.loads(content)
    return [_sample(request) for request in (requests if isinstance(requests, list) else [requests])]


def of_arrays(arrays: Arrays, signature: Signature) -> Sample:
    return Sample(tuple(Tensor(spec.name, spec.datatype, arrays[spec.name]) for spec in signature.inputs))


def made_up(signature: Signature, size: int) -> Sample:
    """Inputs that fit; `size` for those that vary, but the first."""
    return of_arrays(made_up_inputs(signature, size), signature)


def written(samples: Iterable[Sample]) -> str:
    """The text of a samples.json: a line for each tensor. Raises: Invalid(NO_JSON_FORM)."""
    texts = [_written(sample) for sample in samples]
    return "[\n" + ",\n".join(texts) + "\n]\n"


def to_grpc(sample: Sample, model: str) -> bytes:
    """A ModelInferRequest."""
    request = oip.ModelInferRequest(model_name=model)
    for tensor in sample.inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(bytes(to_raw(tensor)))
    for name, value in sample.parameters.items():
        _set(request.parameters[name], value)
    return request.SerializeToString()


def from_grpc(message: bytes) -> list[Tensor]:
    """The outputs of a ModelInferResponse. Raises: Invalid."""
    response = oip.ModelInferResponse.FromString(message)
    return [
        from_raw(output.name, output.datatype, output.shape, raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]


def to_http(sample: Sample, *, binary: bool) -> tuple[bytes, int | None]:
    """A body, and the length of the JSON in front where raw tensors follow it. binary: outputs come raw, too."""
    entries, tail = [], []
    for tensor in sample.inputs:
        entry = _head(tensor)
        if tensor.datatype in oip_json.BINARY_ONLY:
            tail.append(bytes(to_raw(tensor)))
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = _data(tensor)
        entries.append(entry)
    parameters = {**sample.parameters, **({"binary_data_output": True} if binary else {})}
    head = orjson.dumps({"inputs": entries, "parameters": parameters}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([head, *tail]), len(head) if tail else None


def from_http(body: bytes, json_bytes: int | None) -> list[Tensor]:
    """The outputs of an answer. json_bytes: Inference-Header-Content-Length, None without one. Raises: Invalid."""
    size = len(body) if json_bytes is None else json_bytes
    tail = memoryview(body)[size:]
    outputs = []
    for entry in orjson.loads(body[:size])["outputs"]:
        raw_bytes = entry.get("parameters", {}).get("binary_data_size")
        outputs.append(_tensor(entry, None if raw_bytes is None else tail[:raw_bytes]))
        tail = tail[raw_bytes or 0 :]
    return outputs


def _tensor(entry: Mapping[str, Any], raw: Buffer | None) -> Tensor:
    name, datatype, shape = entry["name"], entry["datatype"], entry["shape"]
    return from_values(name, datatype, shape, entry["data"]) if raw is None else from_raw(name, datatype, shape, raw)


def _sample(request: Any) -> Sample:
    """Raises: Invalid."""
    inputs = oip_json.inputs_of(request)
    expected = [output for output in request.get("outputs", ()) if isinstance(output, dict) and "data" in output]
    return Sample(inputs, request.get("parameters", {}), oip_json.inputs_of({"inputs": expected}))


def _written(sample: Sample) -> str:
    lines = []
    for key, tensors in (("inputs", sample.inputs), ("outputs", sample.expected)):
        if tensors:
            lines.append(f'    "{key}": [\n' + ",\n".join(f"      {_line(tensor)}" for tensor in tensors) + "\n    ]")
    if sample.parameters:
        lines.insert(0, f'    "parameters": {json.dumps(dict(sample.parameters))}')
    return "  {\n" + ",\n".join(lines) + "\n  }"


def _line(tensor: Tensor) -> str:
    if tensor.datatype in oip_json.BINARY_ONLY:
        raise Invalid("NO_JSON_FORM", f"{tensor.name!r}: {tensor.datatype} has no JSON form", "test it without samples")
    text = orjson.dumps({**_head(tensor), "data": _data(tensor)}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return json.dumps(json.loads(text), ensure_ascii=False)


def _head(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _data(tensor: Tensor) -> Sequence[Any] | Any:
    """Flat, floats in the fewest digits that read back as the same."""
    if tensor.datatype == "BYTES":
        return [value.decode() for value in to_values(tensor)]
    return tensor.array.ravel()


def _set(parameter: oip.InferParameter, value: object) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = str(value)
