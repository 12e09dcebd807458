"""Requests in HTTP bodies: any bytes are a request or refused, and what was understood is written as it was read.

A script is a number (2) and a body. The number says where the JSON ends: 0, the body is the model's only input; 1, the
body stands for JSON, as `_Built` makes it; above the body's length, it is JSON throughout.

Promised: no error but a MeshError; a request's tensors written as an answer, in JSON and in binary, are the same
tensors when they are read again.
"""

import json
from contextlib import suppress

import numpy as np

from inference_host.values.calls import Answer
from inference_host.values.oip_json import Request, decode, decode_raw, encode
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES, Buffer, Tensor
from tests.unit.inference_host.planes import answer
from waypost.errors import Invalid, MeshError

SCRIPT_BYTES_MAX = 1 << 10
BUILT = 1
DEPTH_MAX = 6
SCALARS = (None, True, False, 0, 2, -1, 255, 1 << 63, 1 << 70, 0.5, 1e300)
WORDS = ("inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id", "x", "grüße", *DTYPES)
WORDS += ("binary_data", "binary_data_size", "binary_data_output", "timeout", "classification", "shared_memory_region")
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 3)),), (TensorSpec("y", "FP32", (-1,)),))


class _Built:
    """JSON out of bytes, in the protocol's words: mutated bytes are JSON still, which mutated JSON hardly ever is."""

    def __init__(self, script: bytes) -> None:
        self._script = iter(script)

    def value(self, depth: int) -> object:
        kind = self._next() % (len(SCALARS) + 3)
        if kind < len(SCALARS):
            return SCALARS[kind]
        if kind == len(SCALARS):
            return WORDS[self._next() % len(WORDS)]
        count = self._next() % 5 if depth else 0
        if kind == len(SCALARS) + 1:
            return [self.value(depth - 1) for _ in range(count)]
        return {WORDS[self._next() % len(WORDS)]: self.value(depth - 1) for _ in range(count)}

    def _next(self) -> int:
        return next(self._script, 0)


def _build(value: object) -> bytes:
    """The script of `_Built` for a value in its words."""
    if isinstance(value, dict):
        pairs = b"".join(bytes([WORDS.index(name)]) + _build(each) for name, each in value.items())
        return bytes([len(SCALARS) + 2, len(value)]) + pairs
    if isinstance(value, list):
        return bytes([len(SCALARS) + 1, len(value)]) + b"".join(map(_build, value))
    if isinstance(value, str):
        return bytes([len(SCALARS), WORDS.index(value)])
    return bytes([next(place for place, each in enumerate(SCALARS) if each is value)])


class NoJsonForm(Exception):
    """A half, an infinity, bytes that are no text: they travel as binary only."""


def play(script: bytes) -> None:
    split, body = int.from_bytes(script[:2].ljust(2, b"\0"), "big"), script[2:]
    if split == BUILT:
        split, body = 0xFFFF, json.dumps(_Built(body).value(DEPTH_MAX)).encode()
    try:
        request = decode(body, split if split <= len(body) else None) if split else decode_raw(body, SIGNATURE)
    except MeshError:
        return
    for binary in (False, True):
        with suppress(NoJsonForm):
            _write_and_read(request, binary)


def _write_and_read(request: Request, binary: bool) -> None:
    parts, json_bytes = _encode(answer(*request.inputs, id_=request.id), binary)
    written = b"".join(parts)
    head = json.loads(written[:json_bytes])
    head["inputs"] = head.pop("outputs")
    text = json.dumps(head).encode()
    again = decode(text + written[json_bytes:] if json_bytes else text, len(text) if json_bytes else None)
    assert again.id == request.id
    for one, other in zip(again.inputs, request.inputs, strict=True):
        _compare(one, other)


def _encode(given: Answer, binary: bool) -> tuple[list[Buffer], int | None]:
    try:
        return encode(given, Request((), binary_default=binary))
    except Invalid as error:
        if error.reason == "NO_JSON_FORM" and not binary:
            raise NoJsonForm from error
        raise


def _compare(one: Tensor, other: Tensor) -> None:
    assert (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape)
    with_nan = one.datatype in ("FP16", "FP32", "FP64")
    assert np.array_equal(one.array, other.array, equal_nan=with_nan)


def seeds() -> dict[str, bytes]:
    plain = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, None]}
    binary = {"name": "x", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}}
    wanted = [{"name": "y", "parameters": {"binary_data": True}}]
    messages = {
        "floats": {"id": "7", "inputs": [plain], "outputs": wanted, "parameters": {"timeout": 5}},
        "nested": {"inputs": [{**plain, "shape": [2, 1], "data": [[1], [2.5]]}]},
        "bools": {"inputs": [{**plain, "datatype": "BOOL", "data": [True, False]}]},
        "large numbers": {"inputs": [{**plain, "datatype": "UINT64", "data": [1 << 63, 0]}]},
        "text": {"inputs": [{**plain, "datatype": "BYTES", "data": ["grüße", ""]}]},
        "ragged": {"inputs": [{**plain, "data": [[1], [2, 3]]}]},
        "half": {"inputs": [{**plain, "datatype": "FP16"}]},
        "of nothing": {"inputs": [{**plain, "shape": [0], "data": []}]},
        "no data": {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]},
        "no name": {"inputs": [{"datatype": "FP32"}]},
        "no objects": {"inputs": [1], "outputs": 2},
        "no shape": {"inputs": [{**plain, "shape": ["2"]}]},
        "no text": {"id": 7, "inputs": []},
        "parameters of another kind": {"inputs": [{**plain, "parameters": 1}]},
        "shared memory": {"inputs": [{**plain, "parameters": {"shared_memory_region": "r"}}]},
        "no binary form": {"inputs": [], "outputs": [{"name": "y", "parameters": {}}]},
    }
    others = {
        "no json": b"{",
        "no object": b"[]",
        "infinity": json.dumps({"inputs": [plain]}).encode().replace(b"1.5", b"1e99"),
    }
    texts = {name: json.dumps(message).encode() for name, message in messages.items()} | others
    with_tail = json.dumps({"inputs": [binary]}).encode()
    half = json.dumps({"inputs": [{**binary, "datatype": "BF16"}]}).encode()
    return {
        **{name: b"\xff\xff" + text for name, text in texts.items()},
        **{f"built of {datatype}": b"\0\1" + _build(_input(datatype)) for datatype in DTYPES},
        "binary": _split(with_tail, b"abcd"),
        "bfloat": _split(half, b"ab\x80\x7f"),
        "too little": _split(with_tail, b"abc"),
        "too much": _split(with_tail, b"abcde"),
        "raw": b"\0\0" + bytes(24),
        "raw, half a row": b"\0\0" + bytes(5),
    }


def _input(datatype: str) -> dict[str, object]:
    """With values that most datatypes take."""
    values = [True, False] if datatype == "BOOL" else ["x", "grüße"] if datatype == "BYTES" else [0, 2]
    return {"inputs": [{"name": "x", "shape": [2], "datatype": datatype, "data": values}]}


def _split(text: bytes, tail: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text + tail
