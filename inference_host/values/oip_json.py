"""Inference requests and answers as the Open Inference Protocol writes them in HTTP bodies. Bytes in, bytes out.

    JSON      {"id", "parameters", "inputs": [{"name", "shape", "datatype", "data"}], "outputs": [{"name"}]}
    binary    the same with `binary_data_size` in place of `data`, and the tensors' raw bytes after the JSON;
              the header Inference-Header-Content-Length says where the JSON ends
    raw       that header is 0: the body is the bytes of the model's only input, and all outputs come back binary

The answer has the form that was asked for: `binary_data` of an output, else `binary_data_output` of the request.
FP16 and BF16 have no JSON form and travel as binary only. Nor has infinity. NaN is null, in requests and in answers, as
with KServe, MLServer and numpy's readers; Triton writes a word that is no JSON, which is refused with what to send.

Numbers are written from the memory of arrays, FP32 in the fewest digits that read back as the same FP32. They are read
as Python lists, of which numpy makes arrays: orjson has no other way, and takes two thirds of the time itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from inference_host.values.calls import Answer, refuse_unsupported
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES, Array, Buffer, Tensor, from_raw, from_values, to_raw
from waypost.errors import Invalid, OutOfRange

BINARY_ONLY = frozenset({"FP16", "BF16"})
WORDS = ("NaN", "Infinity")  # what Triton's own client writes
TENSORS_MAX = 1024  # in one request; no model comes near
_NOTHING = memoryview(b"")
_NO_PARAMETERS: dict[str, Any] = {}
_NO_FORMS: dict[str, bool] = {}


@dataclass(slots=True)
class Request:
    """A decoded body. Not frozen: it is made with every call."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    parameters: Mapping[str, Any] | None = None
    outputs: tuple[str, ...] = ()
    """Empty: all."""
    binary: Mapping[str, bool] | None = None
    """Outputs that say themselves in which form they want to come."""
    binary_default: bool = False


def decode(body: Buffer, json_bytes: int | None) -> Request:
    """A JSON or binary body. json_bytes: Inference-Header-Content-Length, None without one.

    Raises: Invalid; Unsupported for parameters that we must not ignore.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise _bad(f"Inference-Header-Content-Length is {json_bytes}, the body has {len(body)} bytes")
    message = _object(body if json_bytes is None else memoryview(body)[:json_bytes])
    request = Request(
        _inputs(message, _NOTHING if json_bytes is None else memoryview(body)[json_bytes:]), _text(message, "id")
    )
    if "parameters" in message:
        request.parameters = _parameters(message)
        request.binary_default = bool(request.parameters.get("binary_data_output", False))
    if "outputs" in message:
        outputs = _entries(message, "outputs")
        request.outputs = tuple([entry["name"] for entry in outputs])
        request.binary = _wanted_forms(outputs)
    return request


def decode_raw(body: Buffer, signature: Signature) -> Request:
    """A body that is the model's only input. Raises: Invalid."""
    if len(signature.inputs) != 1:
        raise _bad(f"a raw binary request is for models with one input, this one has {len(signature.inputs)}")
    spec = signature.inputs[0]
    if spec.datatype == "BYTES":
        data = b"".join((len(body).to_bytes(4, "little"), body))
        return Request((from_raw(spec.name, "BYTES", [1] * max(1, len(spec.shape)), data),), binary_default=True)
    return Request((from_raw(spec.name, spec.datatype, _raw_shape(spec, len(body)), body),), binary_default=True)


def encode(answer: Answer, request: Request) -> tuple[list[Buffer], int | None]:
    """The parts of the body, and the length of the JSON in front where binary tensors follow it.

    Raises: Invalid(NO_JSON_FORM).
    """
    outputs: list[dict[str, Any]] = []
    tail: list[Buffer] = []
    forms, default = request.binary or _NO_FORMS, request.binary_default
    for spec, array in zip(answer.specs, answer.arrays, strict=True):
        entry: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": array.shape}
        if forms.get(spec.name, default):
            tail.append(to_raw(Tensor(spec.name, spec.datatype, array)))
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = _json_values(spec, array)
        outputs.append(entry)
    origin = answer.origin
    message: dict[str, Any] = {"model_name": origin.model, "model_version": origin.version, "outputs": outputs}
    if answer.id:
        message["id"] = answer.id
    head = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in head:
        _refuse_infinity(outputs)
    return [head, *tail], len(head) if tail else None


def inputs_of(message: Any) -> tuple[Tensor, ...]:
    """The inputs of a request that is JSON throughout. Raises: Invalid."""
    if not isinstance(message, dict):
        raise _bad("a request is a JSON object")
    return _inputs(message, _NOTHING)


def _object(text: Buffer) -> dict[str, Any]:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from error
    if not isinstance(message, dict):
        raise _bad("the body is no JSON object")
    return message


def _wanted_forms(outputs: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """The outputs that say whether they are to be binary."""
    forms: dict[str, bool] = {}
    for entry in outputs:
        parameters = _parameters(entry)
        if "binary_data" in parameters:
            forms[entry["name"]] = bool(parameters["binary_data"])
    return forms


def _inputs(message: Mapping[str, Any], tail: memoryview) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    offset = 0
    for entry in _entries(message, "inputs"):
        size = _parameters(entry).get("binary_data_size") if "parameters" in entry else None
        if size is None:
            tensors.append(_from_json(entry))
            continue
        if type(size) is not int or not 0 <= size <= len(tail) - offset:
            raise _bad(f"input {entry['name']!r} says {size} binary bytes, {len(tail) - offset} are left in the body")
        data = tail[offset : offset + size]
        tensors.append(from_raw(entry["name"], _text(entry, "datatype"), _shape(entry), data))
        offset += size
    if offset != len(tail):
        raise _bad(f"{len(tail) - offset} bytes of the body belong to no input")
    return tuple(tensors)


def _from_json(entry: Mapping[str, Any]) -> Tensor:
    name, datatype = entry["name"], _text(entry, "datatype")
    if "data" not in entry:
        raise _bad(f"input {name!r} has neither data nor binary_data_size")
    if datatype in BINARY_ONLY:
        raise Invalid("NO_JSON_FORM", f"input {name!r}: {datatype} has no JSON form", "send it as binary data")
    return from_values(name, datatype, _shape(entry), entry["data"])


def _json_values(spec: TensorSpec, array: Array) -> Array | list[str]:
    """Flat, as orjson writes it."""
    if spec.datatype in BINARY_ONLY:
        raise _no_json_form(f"output {spec.name!r}: {spec.datatype} has no JSON form")
    if spec.datatype != "BYTES":
        return array.ravel()
    try:
        return [value.decode() for value in array.flat]
    except UnicodeDecodeError as error:
        raise _no_json_form(f"output {spec.name!r} is no UTF-8 text") from error


def _refuse_infinity(outputs: Sequence[Mapping[str, Any]]) -> None:
    """orjson has written it as null, like NaN. Raises: Invalid(NO_JSON_FORM)."""
    for entry in outputs:
        values = entry.get("data")
        if isinstance(values, np.ndarray) and values.dtype.kind == "f" and np.isinf(values).any():
            raise _no_json_form(f"output {entry['name']!r} has infinite values, which have no JSON form")


def _raw_shape(spec: TensorSpec, size_bytes: int) -> tuple[int, ...]:
    """A batch of one where more than one size varies; the one that is left follows from the number of bytes."""
    varying = [axis for axis, size in enumerate(spec.shape) if size < 0]
    shape = list(spec.shape)
    if len(varying) > 1 and varying[0] == 0:
        shape[varying.pop(0)] = 1
    if len(varying) > 1:
        raise _bad(f"input {spec.name!r} has more than one size that varies: a raw binary request cannot tell them")
    if varying:
        rest = math.prod(size for size in shape if size >= 0) * DTYPES[spec.datatype].itemsize
        shape[varying[0]] = size_bytes // rest if rest else 0
    return tuple(shape)


def _entries(message: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    entries = message.get(key, ())
    if not isinstance(entries, list | tuple):
        raise _bad(f"{key} is no list of objects")
    if len(entries) > TENSORS_MAX:
        raise OutOfRange("TOO_MANY_TENSORS", f"{len(entries)} {key}, at most {TENSORS_MAX} are read")
    for entry in entries:
        if not isinstance(entry, dict):
            raise _bad(f"{key} is no list of objects")
        if not isinstance(entry.get("name"), str):
            raise _bad(f"one of the {key} has no name")
        if "parameters" in entry:
            refuse_unsupported(entry["name"], _parameters(entry))
    return entries


def _parameters(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = entry.get("parameters", _NO_PARAMETERS)
    if not isinstance(parameters, dict):
        raise _bad("parameters is no object")
    return parameters


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise _bad(f"{key} is no string")
    return value


def _shape(entry: Mapping[str, Any]) -> list[int]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or [size for size in shape if type(size) is not int]:
        raise _bad(f"shape of {entry['name']!r} is no list of integers")
    return shape


def _no_json_form(why: str) -> Invalid:
    return Invalid("NO_JSON_FORM", why, "ask for it with the parameter binary_data")


def _no_json(error: orjson.JSONDecodeError) -> Invalid:
    why = f"the body is no JSON: {error}"
    if error.doc.startswith(WORDS, error.pos):
        return Invalid("NO_JSON_FORM", f"{why}: JSON has no such number", "write null for NaN, or send binary data")
    return _bad(why)


def _bad(why: str) -> Invalid:
    return Invalid(
        "BAD_REQUEST", why, "requests follow the Open Inference Protocol (REST) and its binary tensor extension"
    )
