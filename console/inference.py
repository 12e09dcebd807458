"""One inference by hand: from what a person types to a request, and from the answer to what a person reads.

A value is JSON, or the name of a file: `x=[1, 2, 3]`, `x=@batch.npy`, `x=@batch.json`. Values are fitted to the model
by the SDK's rule for plain values, whatever they were in the file.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from waypost import tensors
from waypost.api.control.v1 import model_pb2
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest, ModelInferResponse
from waypost.errors import Invalid

STDIN = "-"


def values(inputs: Sequence[str], body: str | None) -> object:
    """What the model shall be given: a mapping by input name, or the value itself for a model with one input.

    inputs: `NAME=VALUE` each. body: JSON of all of it, also as the Open Inference Protocol writes a request; `@file`
    or `-` for stdin. Raises: Invalid(BAD_INPUT).
    """
    if inputs and body is not None:
        raise Invalid("BAD_INPUT", "--input and a JSON body exclude each other", "give one of them")
    if body is not None:
        return _of_protocol(_value(body, "the body"))
    if not inputs:
        raise Invalid("BAD_INPUT", "nothing to infer from", "give --input NAME=VALUE, or JSON such as '[1, 2, 3]'")
    given = {}
    for item in inputs:
        name, separator, text = item.partition("=")
        if not separator:
            raise Invalid(
                "BAD_INPUT", f"{item!r} is no input", "write it as NAME=JSON, NAME=@file.npy or NAME=@file.json"
            )
        given[name] = _value(text, f"input {name!r}")
    return given


def request(given: object, signature: model_pb2.Signature) -> ModelInferRequest:
    """A request that fits the model. Raises: Invalid as `waypost.tensors.arrange`."""
    message = ModelInferRequest()
    for spec, array in tensors.arrange(given, _signature(signature)):
        message.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        message.raw_input_contents.append(tensors.to_raw(array, spec.datatype))
    return message


def outputs(response: ModelInferResponse) -> dict[str, Any]:
    """Nested lists by output name, ready for JSON. Raises: DataLoss(BAD_TENSOR)."""
    return {
        output.name: _jsonable(tensors.from_raw(raw, output.datatype, output.shape).tolist())
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _signature(signature: model_pb2.Signature) -> tensors.Signature:
    return tensors.Signature(_specs(signature.inputs), _specs(signature.outputs))


def _specs(specs: Any) -> tuple[tensors.TensorSpec, ...]:
    return tuple(tensors.TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in specs)


def _value(text: str, what: str) -> Any:
    try:
        if text == STDIN:
            return json.load(sys.stdin)
        if not text.startswith("@"):
            return json.loads(text)
        path = Path(text[1:])
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False).tolist()
        return json.loads(path.read_text())
    except OSError as error:
        raise Invalid("BAD_INPUT", f"{what}: {text.removeprefix('@')} cannot be read: {error.strerror}") from error
    except ValueError as error:
        hint = "a text goes in quotes: '\"text\"'; a file is written @file.npy or @file.json"
        raise Invalid("BAD_INPUT", f"{what}: this is neither JSON nor .npy: {error}", hint) from error


def _of_protocol(body: Any) -> Any:
    """A request as the Open Inference Protocol writes it in JSON is unwrapped; everything else passes."""
    if not (isinstance(body, dict) and isinstance(body.get("inputs"), list)):
        return body
    try:
        return {tensor["name"]: _shaped(tensor) for tensor in body["inputs"]}
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("BAD_INPUT", f"the body looks like an inference request, but is none: {error!r}") from error


def _shaped(tensor: dict[str, Any]) -> Any:
    flat = np.array(tensor["data"], dtype=object).ravel()
    return flat.reshape(tensor.get("shape", flat.shape)).tolist()


def _jsonable(value: Any) -> Any:
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value
