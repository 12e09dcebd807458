"""ModelInfer messages to calls and back, by protobuf."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.faces.oip_messages import CONTENTS, decode, encode
from inference_host.values.calls import Call
from inference_host.values.tensors import DTYPES, Tensor, to_raw
from tests.unit.inference_host.planes import answer
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid, Unsupported


def decoded(**fields: object) -> Call:
    return decode(oip.ModelInferRequest(model_name="m", id="7", **fields).SerializeToString())


def tensor(datatype: str, shape: list[int], **contents: object) -> oip.InferInputTensor:
    return oip.InferInputTensor(
        name="x", datatype=datatype, shape=shape, contents=oip.InferTensorContents(**contents) if contents else None
    )


@given(st.sampled_from(sorted(DTYPES)), st.integers(0, 3))
def test_raw_contents_are_read_for_every_datatype(datatype: str, count: int) -> None:
    array = np.full(count, b"a" if datatype == "BYTES" else 1, DTYPES[datatype])
    raw = bytes(to_raw(Tensor("x", datatype, array)))
    call = decoded(inputs=[tensor(datatype, [count])], raw_input_contents=[raw])
    assert call.inputs[0].array.tolist() == array.tolist()
    assert (call.model, call.version, call.id, call.deadline) == ("m", "", "7", None)


EXTREMES = {"BOOL": [True, False], "BYTES": [b"a", b"\xff\0"], "FP32": [0.5, -np.inf], "FP64": [0.1, -np.inf]}


@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents_are_read_where_there_are_any(datatype: str) -> None:
    values = EXTREMES.get(datatype) or [np.iinfo(DTYPES[datatype]).min, np.iinfo(DTYPES[datatype]).max]
    call = decoded(inputs=[tensor(datatype, [1, 2], **{CONTENTS[datatype]: values})])
    assert call.inputs[0].array.dtype == DTYPES[datatype]
    assert call.inputs[0].array.tolist() == [values]


@pytest.mark.parametrize("strange", [b"\x7a\x03abc", b"\x78\x01"])
@pytest.mark.parametrize("in_front", [True, False])
def test_fields_that_nobody_knows_do_not_get_among_the_values(strange: bytes, in_front: bool) -> None:
    contents = oip.InferTensorContents(fp32_contents=[1.5, 2.5]).SerializeToString()
    mixed = oip.InferTensorContents.FromString(strange + contents if in_front else contents + strange)
    call = decoded(inputs=[oip.InferInputTensor(name="x", datatype="FP32", shape=[2], contents=mixed)])
    assert call.inputs[0].array.tolist() == [1.5, 2.5]


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
        {"inputs": [tensor("UINT16", [1], uint_contents=[1 << 16])]},
        {"inputs": [tensor("FLOAT", [1], fp32_contents=[1])]},
        {"inputs": [tensor("FP32", [-1], fp32_contents=[1])]},
    ],
)
def test_contents_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        decoded(**wrong)


def test_an_empty_tensor_needs_no_contents() -> None:
    assert decoded(inputs=[tensor("FP32", [0])]).inputs[0].shape == (0,)


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b"\xff\xff")
    assert refused.value.reason == "BAD_MESSAGE"


def test_what_would_change_the_answer_is_not_ignored() -> None:
    output = oip.InferRequestedOutputTensor(name="y")
    output.parameters["classification"].int64_param = 3
    with pytest.raises(Unsupported):
        decoded(outputs=[output])


def test_answers_always_carry_raw_contents() -> None:
    given = answer(Tensor("y", "FP32", np.ones((1, 2), np.float32)), id_="7")
    message = oip.ModelInferResponse.FromString(encode(given))
    assert (message.model_name, message.model_version, message.id) == ("m", "1", "7")
    assert list(message.raw_output_contents) == [np.ones(2, np.float32).tobytes()]
    assert list(message.outputs[0].shape) == [1, 2]
    assert not message.outputs[0].HasField("contents")


def test_parameters_are_plain_values() -> None:
    request = oip.ModelInferRequest(model_name="m")
    request.parameters["timeout"].int64_param = 5
    request.parameters["priority"].uint64_param = 1
    request.parameters["empty"].SetInParent()
    assert decode(request.SerializeToString()).parameters == {"timeout": 5, "priority": 1}
