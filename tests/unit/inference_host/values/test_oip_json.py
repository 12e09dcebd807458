"""REST bodies, JSON and binary: whatever form a tensor comes or goes in, it is the same tensor."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference_host.values.calls import Answer
from inference_host.values.oip_json import BINARY_ONLY, Request, decode, decode_raw, encode
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES, Tensor
from tests.unit.inference_host import planes
from waypost.errors import Invalid, MeshError, Unsupported

NUMERIC = sorted(set(DTYPES) - {"BYTES", "BF16"})
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Answer, Request]:
    """An answer, and the request that says in which form each output is wanted."""
    tensors, binary = [], {}
    for number in range(draw(st.integers(0, 3))):
        datatype = draw(st.sampled_from(NUMERIC))
        finite = {"allow_infinity": False} if DTYPES[datatype].kind == "f" else None
        tensors.append(
            Tensor(f"t{number}", datatype, draw(hnp.arrays(DTYPES[datatype], draw(SHAPES), elements=finite)))
        )
        binary[f"t{number}"] = datatype in BINARY_ONLY or draw(st.booleans())
    return answer(*tensors), Request((), binary=binary)


def bits(array: np.ndarray) -> bytes:
    """A NaN stays one, but not which one."""
    return (np.where(np.isnan(array), array.dtype.type(np.nan), array) if array.dtype.kind == "f" else array).tobytes()


def answer(*tensors: Tensor) -> Answer:
    return planes.answer(*tensors)


@given(answers())
def test_an_answer_reads_back_as_a_request(drawn: tuple[Answer, Request]) -> None:
    """Inputs and outputs have the same form."""
    given_answer, request = drawn
    parts, json_bytes = encode(given_answer, request)
    message = json.loads(parts[0])
    assert (message["model_name"], message["model_version"], message["id"]) == ("m", "1", "id-1")
    assert (json_bytes is not None) == any(request.binary.values())
    head = parts[0].replace(b'"outputs"', b'"inputs"')
    found = decode(head + b"".join(parts[1:]), None if json_bytes is None else len(head))
    assert [(t.name, t.datatype, t.shape) for t in found.inputs] == [
        (t.name, t.datatype, t.shape) for t in given_answer.outputs
    ]
    for mine, theirs in zip(given_answer.outputs, found.inputs, strict=True):
        assert bits(mine.array) == bits(theirs.array)


@given(st.binary(max_size=100), st.none() | st.integers(0, 120))
def test_any_bytes_are_a_request_or_refused(body: bytes, json_bytes: int | None) -> None:
    with suppress(MeshError):
        decode(body, json_bytes)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), JSON)
REQUESTS = st.fixed_dictionaries(
    {}, optional={"id": JSON, "parameters": JSON, "inputs": JSON | st.lists(ENTRIES, max_size=2), "outputs": JSON}
)


@given(JSON | REQUESTS)
def test_any_json_is_a_request_or_refused(message: object) -> None:
    with suppress(MeshError):
        decode(json.dumps(message).encode(), None)


def test_a_request_says_what_it_wants_and_how() -> None:
    message = {
        "id": "7",
        "parameters": {"binary_data_output": True, "timeout": 5},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [[1, 2]]}],
        "outputs": [{"name": "y"}, {"name": "z", "parameters": {"binary_data": False}}],
    }
    request = decode(json.dumps(message).encode(), None)
    assert (request.id, request.outputs, request.parameters["timeout"]) == ("7", ("y", "z"), 5)
    assert (request.binary, request.binary_default) == ({"z": False}, True)
    assert request.inputs[0].array.tolist() == [[1.0, 2.0]]


def test_binary_inputs_follow_the_json_in_their_order() -> None:
    inputs = [
        {"name": "a", "datatype": "UINT8", "shape": [2], "parameters": {"binary_data_size": 2}},
        {"name": "b", "datatype": "UINT8", "shape": [1], "data": [9]},
        {"name": "c", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    request = decode(head + b"\x01\x02" + b"\x02\0\0\0hi", len(head))
    assert [tensor.array.tolist() for tensor in request.inputs] == [[1, 2], [9], [b"hi"]]


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "datatype": "UINT8", "shape": [2]},
        {"name": "a", "datatype": "UINT8", "shape": 2, "data": [1, 2]},
        {"name": "a", "datatype": "UINT8", "shape": [2.0], "data": [1, 2]},
        {"name": 1, "datatype": "UINT8", "shape": [2], "data": [1, 2]},
        {"name": "a", "datatype": "UINT8", "shape": [2], "parameters": {"binary_data_size": 2}},
        {"name": "a", "datatype": "UINT8", "shape": [2], "parameters": {"binary_data_size": "2"}},
        {"name": "a", "datatype": "FP16", "shape": [1], "data": [1]},
        {"name": "a", "datatype": "UINT8", "shape": [1], "data": [256]},
        "a",
    ],
)
def test_an_input_of_another_form_is_refused(entry: object) -> None:
    with pytest.raises(Invalid):
        decode(json.dumps({"inputs": [entry]}).encode(), None)


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        decode(b'{"inputs": []}xx', 14)
    assert "belong to no input" in refused.value.message


@pytest.mark.parametrize("parameter", ["classification", "shared_memory_region"])
def test_what_would_change_the_answer_is_not_ignored(parameter: str) -> None:
    outputs = [{"name": "y", "parameters": {parameter: 1}}]
    with pytest.raises(Unsupported):
        decode(json.dumps({"inputs": [], "outputs": outputs}).encode(), None)


@pytest.mark.parametrize(
    ("shape", "size_bytes", "expected"),
    [((-1, 4), 16, (1, 4)), ((-1, 4), 32, (2, 4)), ((-1, -1), 12, (1, 3)), ((3,), 12, (3,)), ((2, -1), 8, (2, 1))],
)
def test_the_shape_of_a_raw_request_follows_from_its_length(
    shape: tuple[int, ...], size_bytes: int, expected: tuple[int, ...]
) -> None:
    request = decode_raw(bytes(size_bytes), Signature((TensorSpec("x", "FP32", shape),), ()))
    assert request.inputs[0].shape == expected
    assert request.binary_default


def test_a_raw_request_of_text_is_one_element() -> None:
    request = decode_raw(b"tower", Signature((TensorSpec("x", "BYTES", (1,)),), ()))
    assert request.inputs[0].array.tolist() == [b"tower"]


def test_a_raw_request_needs_a_model_with_one_input_that_it_can_fill() -> None:
    x = TensorSpec("x", "FP32", (2, -1, -1))
    for signature in (Signature((x, x), ()), Signature((x,), ())):
        with pytest.raises(Invalid):
            decode_raw(bytes(8), signature)


def test_an_output_without_a_json_form_says_how_to_get_it() -> None:
    for tensor in (
        Tensor("y", "FP16", np.zeros(1, np.float16)),
        Tensor("y", "BYTES", np.array([b"\xff"], dtype=object)),
        Tensor("y", "FP32", np.array([-np.inf], np.float32)),
    ):
        with pytest.raises(Invalid) as refused:
            encode(answer(tensor), Request(()))
        assert "binary_data" in refused.value.hint


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_nan_is_written_as_null_and_read_from_it(datatype: str) -> None:
    parts, _ = encode(answer(Tensor("y", datatype, np.array([np.nan, 1], DTYPES[datatype]))), Request(()))
    written = json.loads(parts[0])["outputs"]
    assert written[0]["data"] == [None, 1.0]
    (read,) = decode(json.dumps({"inputs": written}).encode(), None).inputs
    assert np.array_equal(read.array, [np.nan, 1], equal_nan=True)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_no_json_are_refused_with_what_to_send(word: str) -> None:
    """tritonclient writes them, where it is told not to send binary data."""
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [float(word)]}]})
    with pytest.raises(Invalid) as refused:
        decode(text.encode(), None)
    assert refused.value.reason == "NO_JSON_FORM"
    assert refused.value.hint == "write null for NaN, or send binary data"


def test_an_array_that_is_part_of_another_is_written_as_its_shape_says() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    parts, _ = encode(answer(Tensor("y", "FP32", array)), Request(()))
    assert json.loads(parts[0])["outputs"][0]["data"] == array.ravel().tolist()


@given(hnp.arrays(np.float32, 8, elements={"allow_nan": False, "allow_infinity": False}))
def test_floats_are_written_so_that_they_read_back_exactly(values: np.ndarray) -> None:
    parts, _ = encode(answer(Tensor("y", "FP32", values)), Request(()))
    found = np.array(json.loads(parts[0])["outputs"][0]["data"], np.float32)
    assert found.tobytes() == values.tobytes()
