"""ModelInfer messages, by protobuf: what the bytes of a request and of a response mean.

Inputs come raw (`raw_input_contents`, one entry per input in their order) or typed (`contents` of each input). Answers
always carry raw contents: stock clients read nothing else reliably.

`oip_codec` does the same by hand for the form that nearly every request has.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference_host.transport.methods import parse
from inference_host.values.calls import Answer, Call, refuse_unsupported
from inference_host.values.tensors import Array, Buffer, Tensor, dtype_of, from_raw, from_values, to_raw
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid

CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Which list of InferTensorContents holds a datatype. FP16 and BF16 have none: they travel raw."""

LIST_DTYPES = {
    "bool_contents": np.dtype(np.bool_),
    "int_contents": np.dtype("<i4"),
    "int64_contents": np.dtype("<i8"),
    "uint_contents": np.dtype("<u4"),
    "uint64_contents": np.dtype("<u8"),
    "fp32_contents": np.dtype("<f4"),
    "fp64_contents": np.dtype("<f8"),
}
"""numpy's dtype of each list of numbers."""
FIXED_WIDTH = ("bool_contents", "fp32_contents", "fp64_contents")
"""Lists that stand in the message as they stand in memory; the others are varints."""


def decode(body: Buffer) -> Call:
    """Raises: Invalid, Unsupported."""
    request = parse(oip.ModelInferRequest, body)
    for tensor in request.inputs:
        refuse_unsupported(tensor.name, tensor.parameters)
    for output in request.outputs:
        refuse_unsupported(output.name, output.parameters)
    return Call(
        model=request.model_name,
        version=request.model_version,
        inputs=_inputs(request),
        id=request.id,
        outputs=tuple(output.name for output in request.outputs),
        parameters=_plain(request.parameters) or None,
    )


def encode(answer: Answer) -> bytes:
    response = oip.ModelInferResponse(
        model_name=answer.origin.model,
        model_version=answer.origin.version,
        id=answer.id,
        outputs=output_specs(answer.outputs),
        raw_output_contents=[bytes(to_raw(tensor)) for tensor in answer.outputs],
    )
    return response.SerializeToString()


def output_specs(outputs: Sequence[Tensor]) -> list[oip.InferOutputTensor]:
    """Names, datatypes and shapes, without contents."""
    return [oip.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape) for tensor in outputs]


def _plain(parameters: Mapping[str, oip.InferParameter]) -> dict[str, object]:
    """Plain values by name; a parameter without one is left out."""
    found: dict[str, object] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def _inputs(request: oip.ModelInferRequest) -> list[Tensor]:
    raw = request.raw_input_contents
    if not raw:
        return [_from_contents(tensor) for tensor in request.inputs]
    if len(raw) != len(request.inputs):
        raise Invalid(
            "BAD_REQUEST",
            f"{len(raw)} raw contents for {len(request.inputs)} inputs",
            "send one entry of raw_input_contents for each input, in their order, or none at all",
        )
    for tensor in request.inputs:
        if tensor.contents.ListFields():
            raise Invalid(
                "BAD_REQUEST", f"input {tensor.name!r} has contents beside raw_input_contents", "send one of the two"
            )
    return [
        from_raw(tensor.name, tensor.datatype, tuple(tensor.shape), data)
        for tensor, data in zip(request.inputs, raw, strict=True)
    ]


def _from_contents(tensor: oip.InferInputTensor) -> Tensor:
    dtype_of(tensor.name, tensor.datatype)
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise Invalid(
            "BAD_REQUEST", f"input {tensor.name!r}: {tensor.datatype} has no typed contents", "use raw_input_contents"
        )
    for descriptor, _ in tensor.contents.ListFields():
        if descriptor.name != field:
            raise Invalid(
                "BAD_REQUEST",
                f"input {tensor.name!r} is {tensor.datatype} and its values are in {descriptor.name}",
                f"put them into {field}",
            )
    return from_values(tensor.name, tensor.datatype, tuple(tensor.shape), _values(tensor.contents, field))


def _values(contents: oip.InferTensorContents, field: str) -> Sequence[Any] | Array:
    """The values of the only list that has any. Asked for one by one, numbers would take four times as long."""
    values = getattr(contents, field)
    dtype = LIST_DTYPES.get(field)
    if dtype is None:
        return list(values)
    if field in FIXED_WIDTH:
        return _last(contents, dtype, len(values))
    return np.fromiter(values, dtype, len(values))


def _last(contents: oip.InferTensorContents, dtype: np.dtype[Any], count: int) -> Array:
    """The values with which a message ends that has no other field: a few microseconds for any number of them."""
    contents.DiscardUnknownFields()
    message = contents.SerializeToString()
    return np.frombuffer(message, dtype, count, len(message) - count * dtype.itemsize)
