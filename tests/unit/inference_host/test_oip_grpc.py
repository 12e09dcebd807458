"""ModelInfer messages to calls and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.calls import Answer
from inference_host.oip_grpc import CONTENTS, decode, encode, parameters_of
from inference_host.tensors import DTYPES, Tensor, to_raw
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid, Unsupported


def request(**fields: object) -> oip.ModelInferRequest:
    return oip.ModelInferRequest(model_name="m", id="7", **fields)


def tensor(datatype: str, shape: list[int], **contents: object) -> oip.InferInputTensor:
    return oip.InferInputTensor(
        name="x", datatype=datatype, shape=shape, contents=oip.InferTensorContents(**contents) if contents else None
    )


@given(st.sampled_from(sorted(DTYPES)), st.integers(0, 3))
def test_raw_contents_are_read_for_every_datatype(datatype: str, count: int) -> None:
    array = np.full(count, b"a" if datatype == "BYTES" else 1, DTYPES[datatype])
    raw = to_raw(Tensor("x", datatype, array))
    call = decode(request(inputs=[tensor(datatype, [count])], raw_input_contents=[raw]), None)
    assert call.inputs[0].array.tolist() == array.tolist()
    assert (call.model, call.version, call.id, call.deadline) == ("m", "", "7", None)


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents_are_read_where_there_are_any(datatype: str) -> None:
    value: object = {"BOOL": True, "BYTES": b"a"}.get(datatype, 1)
    call = decode(request(inputs=[tensor(datatype, [2], **{CONTENTS[datatype]: [value, value]})]), None)
    assert call.inputs[0].array.dtype == DTYPES[datatype]
    assert call.inputs[0].array.tolist() == [value, value]


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": [tensor("FP32", [1])], "raw_input_contents": [b"1234", b"1234"]},
        {"inputs": [tensor("FP32", [1], fp32_contents=[1])], "raw_input_contents": [b"1234"]},
        {"inputs": [tensor("FP32", [1], fp64_contents=[1])]},
        {"inputs": [tensor("FP32", [2], fp32_contents=[1])]},
        {"inputs": [tensor("FP32", [1])]},
        {"inputs": [tensor("FP16", [1], fp32_contents=[1])]},
        {"inputs": [tensor("INT8", [1], int_contents=[200])]},
        {"inputs": [tensor("FLOAT", [1], fp32_contents=[1])]},
        {"inputs": [tensor("FP32", [-1], fp32_contents=[1])]},
    ],
)
def test_contents_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        decode(request(**wrong), None)


def test_an_empty_tensor_needs_no_contents() -> None:
    assert decode(request(inputs=[tensor("FP32", [0])]), None).inputs[0].shape == (0,)


def test_what_would_change_the_answer_is_not_ignored() -> None:
    output = oip.ModelInferRequest(model_name="m").outputs.add(name="y")
    output.parameters["classification"].int64_param = 3
    with pytest.raises(Unsupported):
        decode(request(outputs=[output]), None)


def test_answers_always_carry_raw_contents() -> None:
    answer = Answer("m", "1", "7", (Tensor("y", "FP32", np.ones((1, 2), np.float32)),))
    message = encode(answer)
    assert (message.model_name, message.model_version, message.id) == ("m", "1", "7")
    assert list(message.raw_output_contents) == [np.ones(2, np.float32).tobytes()]
    assert list(message.outputs[0].shape) == [1, 2]
    assert not message.outputs[0].HasField("contents")


def test_parameters_are_plain_values() -> None:
    message = request()
    message.parameters["timeout"].int64_param = 5
    message.parameters["priority"].uint64_param = 1
    message.parameters["empty"].SetInParent()
    assert parameters_of(message.parameters) == {"timeout": 5, "priority": 1}
