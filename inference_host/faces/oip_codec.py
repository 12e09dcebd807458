"""ModelInfer by hand: the bytes of a request to a Call, an Answer to the bytes of a response.

    body ──┬─ canonical ──────▶ header memo ──▶ tensors as views on the body
           └─ anything else ──▶ protobuf    ──▶ the same Call, or the same error

Every protobuf library writes fields in the order of their numbers, so nearly every request looks like this:

    model_name  model_version  id  inputs ...  outputs ...  raw_input_contents ...
    └───────── header ───────┘     └─────── header ──────┘

A caller sends the same header with every call: only the id and the raw contents change. Protobuf reads a header once;
afterwards its bytes find what protobuf said. That is safe because a message is the merge of its fields, whatever their
order: header, id and raw contents read apart are the message read whole. What is not in exactly this form (another
order, a field twice or unknown, parameters, typed contents, 128 bytes or more in a field of the header) goes to
protobuf whole.

Responses are the mirror image: without id and raw contents they are the same for all outputs of the same shapes.

What these bytes mean is said by `oip_messages`, by protobuf alone. `Codec` agrees with it on any bytes whatsoever
(tests/unit/inference_host/faces/test_oip_codec.py), in a third of the time for small tensors and without copying large
ones.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from inference_host.faces import oip_messages
from inference_host.transport.methods import parse
from inference_host.values.calls import Answer, Call, Form, Origin
from inference_host.values.memo import Memo
from inference_host.values.signature import TensorSpec
from inference_host.values.tensors import (
    VIEW_BYTES_MIN,
    Array,
    Buffer,
    Tensor,
    dtype_of,
    element_count,
    from_raw,
    memory,
)
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import MeshError

HEADER_BYTES_MAX = 1024  # five inputs with long names take half of it
HEADERS_MAX = 1024  # a caller has one for each shape that it sends; together they take a few megabytes at most
LAYOUTS_MAX = 1024  # likewise for the shapes of answers
LENGTH_BYTES_MAX = 4  # of a length on the wire: 256 MiB, beyond any message that is taken

# The byte before each field: its number, and that a length follows (protobuf.dev, "Encoding").
_NAME, _VERSION, _ID, _INPUT, _OUTPUT, _RAW = (number << 3 | 2 for number in (1, 2, 3, 5, 6, 7))
_RESPONSE_ID, _RESPONSE_RAW = (bytes([number << 3 | 2]) for number in (3, 6))
_MORE = 0x80
"""Set in each byte of a length but its last."""
_SHORT_IDS = [_RESPONSE_ID + bytes([size]) for size in range(_MORE)]
"""What stands before a response's id, by its length."""


class _OtherForm(Exception):
    """Protobuf is to read this body."""


class _Input(NamedTuple):
    """What a header says of an input."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    size_bytes: int
    """0 where raw contents are not simply an array's memory: BYTES, BOOL, and tensors without elements."""
    before: bytes
    """What then stands before them."""


class _Header(NamedTuple):
    model: str
    version: str
    inputs: tuple[_Input, ...]
    outputs: tuple[str, ...]
    form: Form


class _Layout(NamedTuple):
    """A response without id and raw contents: what stands before the id, and before each of the raw contents.

    Of outputs of such shapes from this origin, by these specs: they are compared as objects, which no other call has.
    """

    origin: Origin
    specs: tuple[TensorSpec, ...]
    names: bytes
    before: tuple[bytes, ...]


_Key: TypeAlias = tuple[object, ...]


class Codec:
    """Remembers headers and layouts: one for all calls of a host."""

    def __init__(self) -> None:
        self._headers: Memo[bytes, _Header] = Memo(HEADERS_MAX)
        self._layouts: Memo[_Key, _Layout] = Memo(LAYOUTS_MAX)

    def decode(self, body: Buffer) -> Call:
        """Large tensors are views on `body` where they stand aligned. Raises: Invalid, Unsupported."""
        try:
            return self._decode_canonical(body)
        except (_OtherForm, IndexError, UnicodeDecodeError, MeshError):  # if it is wrong, protobuf says how
            return oip_messages.decode(body)

    def encode(self, answer: Answer) -> Sequence[Buffer]:
        """The message in parts. Large tensors are views on the answer's arrays."""
        layout = self._layout(answer)
        arrays = answer.arrays
        if len(layout.before) != len(arrays):
            return [oip_messages.encode(answer)]
        if len(arrays) == 1 and arrays[0].nbytes < VIEW_BYTES_MIN:  # as below, in half the time
            return [b"".join((layout.names, _response_id(answer.id), layout.before[0], arrays[0].tobytes()))]
        message: list[Buffer] = []
        parts: list[Buffer] = [layout.names, _response_id(answer.id)]
        for before, array in zip(layout.before, arrays, strict=True):
            raw = memory(array)
            parts += (before, raw)
            if len(raw) >= VIEW_BYTES_MIN:
                message += (b"".join(parts[:-1]), raw)
                parts = []
        if parts:
            message.append(b"".join(parts))
        return message

    def _decode_canonical(self, body: Buffer) -> Call:
        """Raises: IndexError where the body ends too early, and what `decode` catches besides."""
        head = body if type(body) is bytes else bytes(body[:HEADER_BYTES_MAX])
        at = 2 + head[1] if head[0] == _NAME else 0
        if head[at] == _VERSION:
            at += 2 + head[at + 1]
        names = at
        if head[at] == _ID:
            at += 2 + head[at + 1]
        tensors = at
        while head[at] == _INPUT:
            at += 2 + head[at + 1]
        while head[at] == _OUTPUT:
            at += 2 + head[at + 1]
        key = head[:names] + head[tensors:at]
        header = self._headers.get(key) or self._learn(key)
        model, version, expected, outputs, form = header
        inputs: list[Tensor] = []
        for name, datatype, shape, dtype, size_bytes, before in expected:
            start = at + len(before)
            if size_bytes and body[at:start] == before:
                at = start + size_bytes
                inputs.append(Tensor(name, datatype, _array(shape, dtype, body, start, at)))
            else:
                start, at = _raw(body, at)
                inputs.append(from_raw(name, datatype, shape, memoryview(body)[start:at]))
        if at != len(body):
            raise _OtherForm
        return Call(model, version, inputs, _id(head, names, tensors), outputs, form=form)

    def _learn(self, key: bytes) -> _Header:
        """What protobuf reads in a header. Raises: _OtherForm, IndexError, MeshError."""
        if len(key) > HEADER_BYTES_MAX or not _has_short_fields(key):
            raise _OtherForm
        message = parse(oip.ModelInferRequest, key)
        for tensor in message.inputs:
            if tensor.parameters or tensor.HasField("contents"):
                raise _OtherForm
        for output in message.outputs:
            if output.parameters:
                raise _OtherForm
        inputs = tuple(map(_input, message.inputs))
        outputs = tuple(output.name for output in message.outputs)
        return self._headers.remember(key, _Header(message.model_name, message.model_version, inputs, outputs, Form()))

    def _layout(self, answer: Answer) -> _Layout:
        specs, arrays = answer.specs, answer.arrays
        key = (id(specs), arrays[0].shape) if len(arrays) == 1 else (id(specs), *[array.shape for array in arrays])
        layout = self._layouts.get(key)
        if layout is None or layout.specs is not specs or layout.origin is not answer.origin:
            return self._layouts.remember(key, _new_layout(answer))
        return layout


def length_bytes(length: int) -> bytes:
    """A length as it stands on the wire: a varint, seven bits in each byte, the lowest first."""
    if length < _MORE:
        return bytes((length,))
    written = bytearray()
    while length >= _MORE:
        written.append(length & 0x7F | _MORE)
        length >>= 7
    written.append(length)
    return bytes(written)


def _has_short_fields(key: bytes) -> bool:
    """Whether every length in a header is one byte: only then did `_decode_canonical` cut it in the right places.

    It need not ask that of a header that it finds: the same bytes lead it the same way.
    """
    at = 0
    while at < len(key):
        if key[at + 1] & _MORE:
            return False
        at += 2 + key[at + 1]
    return at == len(key)


def _id(head: bytes, start: int, end: int) -> str:
    """The request's id: a field, or nothing. Raises: _OtherForm, UnicodeDecodeError."""
    if start == end:
        return ""
    if head[start + 1] & _MORE:
        raise _OtherForm
    return head[start + 2 : end].decode()


def _raw(body: Buffer, at: int) -> tuple[int, int]:
    """Where the raw contents begin and end that stand at `at`. Raises: _OtherForm, IndexError."""
    if body[at] != _RAW:
        raise _OtherForm
    length, start = body[at + 1], at + 2
    if length & _MORE:
        length, start = _long_length(body, at + 1)
    if start + length > len(body):
        raise _OtherForm
    return start, start + length


def _long_length(body: Buffer, at: int) -> tuple[int, int]:
    """A length of several bytes, and where it ends. Raises: _OtherForm, IndexError."""
    length = 0
    for place in range(LENGTH_BYTES_MAX):
        byte = body[at + place]
        length |= (byte & 0x7F) << 7 * place
        if byte < _MORE:
            return length, at + place + 1
    raise _OtherForm


def _array(shape: tuple[int, ...], dtype: np.dtype[Any], body: Buffer, start: int, end: int) -> Array:
    """Raises: _OtherForm where the body ends before `end`."""
    if end > len(body):
        raise _OtherForm
    if end - start < VIEW_BYTES_MIN:  # a copy is aligned; a view would mostly not be
        return np.ndarray(shape, dtype, bytes(body[start:end]))
    array: Array = np.ndarray(shape, dtype, body, start)
    return array if array.flags.aligned else array.copy()


def _input(message: oip.InferInputTensor) -> _Input:
    """Raises: Invalid."""
    shape = tuple(message.shape)
    dtype = dtype_of(message.name, message.datatype)
    count = element_count(message.name, shape)
    size_bytes = 0 if message.datatype in ("BYTES", "BOOL") else count * dtype.itemsize
    before = bytes([_RAW]) + length_bytes(size_bytes)
    return _Input(message.name, message.datatype, shape, dtype, size_bytes, before)


def _new_layout(answer: Answer) -> _Layout:
    origin, specs = answer.origin, answer.specs
    names = oip.ModelInferResponse(model_name=origin.model, model_version=origin.version).SerializeToString()
    if any(spec.datatype == "BYTES" for spec in specs):  # their length does not follow from their shape
        return _Layout(origin, specs, names, ())
    outputs = oip.ModelInferResponse(outputs=oip_messages.output_specs(answer.outputs)).SerializeToString()
    before = [_RESPONSE_RAW + length_bytes(array.nbytes) for array in answer.arrays]
    before[:1] = [outputs + first for first in before[:1]]
    return _Layout(origin, specs, names, tuple(before))


def _response_id(text: str) -> bytes:
    if not text:
        return b""
    encoded = text.encode()
    size = len(encoded)
    return (_SHORT_IDS[size] if size < _MORE else _RESPONSE_ID + length_bytes(size)) + encoded
