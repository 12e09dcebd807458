"""samples.json: read, written, and sent over both faces without becoming something else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.faces import oip_messages
from inference_host.values import oip_json
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES, Tensor
from inference_host.workbench import samples
from inference_host.workbench.samples import Sample
from waypost.api.inference.v1 import inference_pb2 as oip
from waypost.errors import Invalid, Precondition

INTEGERS = ("UINT8", "INT16", "INT64", "UINT64")


@st.composite
def tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = ("FP32", "FP64", "BOOL", "BYTES", *INTEGERS)) -> Tensor:
    datatype = draw(st.sampled_from(datatypes))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    count = int(np.prod(shape, dtype=int))
    one = {"BOOL": st.booleans(), "BYTES": st.text('abü"\\n', max_size=4).map(str.encode)}.get(datatype)
    if one is None:
        one = st.integers(0, 200) if datatype in (*INTEGERS, "BF16") else st.floats(-60000, 60000, width=16)
    values = np.empty(count, DTYPES[datatype])
    values[:] = draw(st.lists(one, min_size=count, max_size=count))
    return Tensor(draw(st.sampled_from(["x", "signal dbm", "ü"])), datatype, values.reshape(shape))


def same(found: tuple[Tensor, ...] | list[Tensor], expected: tuple[Tensor, ...]) -> bool:
    return len(found) == len(expected) and all(
        (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape)
        and np.array_equal(one.array, other.array)
        for one, other in zip(found, expected, strict=True)
    )


@given(tensors(), st.lists(tensors(), max_size=2))
def test_what_is_written_is_read_again(given_tensor: Tensor, expected: list[Tensor]) -> None:
    sample = Sample((given_tensor,), {"sequence_id": 7, "sequence_start": True}, tuple(expected))
    (found,) = samples.parsed(samples.written([sample]).encode())
    assert same(found.inputs, sample.inputs)
    assert same(found.expected, sample.expected)
    assert found.parameters == sample.parameters


@given(tensors())
def test_hosts_read_a_sample_as_what_it_is(given_tensor: Tensor) -> None:
    sample = Sample((given_tensor,), {"priority": 2, "key": "a", "flag": True})
    call = oip_messages.decode(samples.to_grpc(sample, "m"))
    assert (call.model, dict(call.parameters)) == ("m", sample.parameters)
    assert same(list(call.inputs), sample.inputs)
    request = oip_json.decode(*samples.to_http(sample, binary=False))
    assert same(request.inputs, sample.inputs)
    assert request.parameters == sample.parameters


@given(tensors(("FP16", "BF16")))
def test_what_has_no_json_form_is_sent_as_raw_bytes(given_tensor: Tensor) -> None:
    request = oip_json.decode(*samples.to_http(Sample((given_tensor,)), binary=True))
    assert same(request.inputs, (given_tensor,))
    assert request.binary_default
    with pytest.raises(Invalid):
        samples.written([Sample((given_tensor,))])


def test_answers_of_both_faces_are_read() -> None:
    x, half = np.array([1.5, 2.5], np.float32), np.array([1.5], np.float16)
    response = oip.ModelInferResponse(raw_output_contents=[x.tobytes(), half.tobytes()])
    response.outputs.add(name="y", datatype="FP32", shape=[2])
    response.outputs.add(name="h", datatype="FP16", shape=[1])
    expected = (Tensor("y", "FP32", x), Tensor("h", "FP16", half))
    assert same(samples.from_grpc(response.SerializeToString()), expected)
    head = (
        b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]},'
        b'{"name": "h", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}}]}'
    )
    assert same(samples.from_http(head + half.tobytes(), len(head)), expected)


def test_an_output_without_data_is_asked_for_and_not_expected() -> None:
    request = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}], "outputs": [{"name": "y"}]}'
    (found,) = samples.parsed(request)
    assert found.expected == ()


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"inputs": 3}', '{"inputs": [], "outputs": [{"name": "y", "data": []}]}']
)
def test_a_file_that_holds_no_requests_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "samples.json").write_text(content)
    with pytest.raises(Precondition) as refused:
        samples.read(tmp_path / "samples.json")
    assert refused.value.reason == "BAD_SAMPLES"


def test_a_made_up_sample_fits() -> None:
    sample = samples.made_up(Signature((TensorSpec("x", "FP32", (-1, -1, 3)),), ()), 8)
    assert sample.inputs[0].shape == (1, 8, 3)
