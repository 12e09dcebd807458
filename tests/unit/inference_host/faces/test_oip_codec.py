"""What is read and written by hand is what protobuf reads and writes: the same values or the same error."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference_host.faces import oip_messages
from inference_host.faces.oip_codec import Codec
from inference_host.values.calls import Answer
from inference_host.values.tensors import DTYPES, VIEW_BYTES_MIN, Tensor
from tests.unit.inference_host.oip_bodies import GOOD, LONG_ID, LONG_NAME, STRANGE, aligned, field, outcome, variations
from tests.unit.inference_host.planes import answer
from waypost.api.inference.v1 import inference_pb2 as oip

NAMES = st.text(max_size=6) | st.sampled_from(["m", "x" * 127, "x" * 128, "é" * 100])
SHAPES = st.lists(st.integers(0, 3), max_size=3) | st.sampled_from([[VIEW_BYTES_MIN], [-1], [2**40, 0], [1] * 40])
REMEMBERS = Codec()
"""One for all examples: most of its headers were seen before, in other requests."""


@st.composite
def inputs(draw: st.DrawFn) -> tuple[oip.InferInputTensor, bytes]:
    """An input and its raw contents, which mostly fit."""
    datatype = draw(st.sampled_from([*DTYPES, "FLOAT"]))
    shape = draw(SHAPES)
    spec = oip.InferInputTensor(name=draw(NAMES), datatype=datatype, shape=shape)
    count = int(np.prod([max(0, size) for size in shape])) if len(shape) < 4 else 1
    if datatype == "BYTES" or draw(st.integers(0, 9)) == 0:
        return spec, draw(st.binary(max_size=20))
    item = b"\x01\x00\x02\x40\x00\x00\x00\x80"[: DTYPES.get(datatype, np.dtype("f4")).itemsize]
    return spec, item * count


@st.composite
def requests(draw: st.DrawFn) -> oip.ModelInferRequest:
    """Mostly of the common form."""
    drawn = draw(st.lists(inputs(), max_size=3))
    request = oip.ModelInferRequest(
        model_name=draw(NAMES),
        model_version=draw(NAMES),
        id=draw(NAMES),
        inputs=[spec for spec, _ in drawn],
        outputs=[oip.InferRequestedOutputTensor(name=name) for name in draw(st.lists(NAMES, max_size=2))],
        raw_input_contents=[raw for _, raw in drawn],
    )
    match draw(st.integers(0, 19)):
        case 0:
            request.parameters["timeout"].int64_param = 5
        case 1 if request.inputs:
            request.inputs[0].parameters["p"].bool_param = True
        case 2 if request.inputs:
            request.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
        case 3 if request.inputs:
            request.inputs[0].contents.SetInParent()
        case 4 if request.outputs:
            request.outputs[0].parameters["classification"].int64_param = 1
        case 5:
            request.raw_input_contents.append(b"1234")
        case 6:
            del request.raw_input_contents[:]
    return request


def pieces(request: oip.ModelInferRequest) -> list[bytes]:
    """Its fields, each as it stands on the wire."""
    found: list[bytes] = []
    for described, value in request.ListFields():
        one_by_one = described.default_value == [] and described.name != "parameters"
        for each in [[element] for element in value] if one_by_one else [value]:
            found.append(field(**{described.name: each}))
    return found


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Requests as they should be, with their fields in any order, twice or strange, and with changed bytes."""
    parts = pieces(draw(requests()))
    if draw(st.integers(0, 3)) == 0:
        parts = draw(
            st.permutations(parts + draw(st.lists(st.sampled_from(parts), max_size=1) if parts else st.just([])))
        )
    if draw(st.integers(0, 3)) == 0:
        parts.insert(draw(st.integers(0, len(parts))), draw(st.sampled_from(STRANGE)))
    body = bytearray(b"".join(parts))
    if draw(st.integers(0, 3)) == 0 and body:
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, min(len(body), 200) - 1))
            body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
            if not body:
                break
    if draw(st.integers(0, 9)) == 0:
        del body[draw(st.integers(0, len(body))) :]
    return bytes(body)


@given(requests())
def test_the_pieces_of_a_request_in_their_order_are_the_request(request: oip.ModelInferRequest) -> None:
    assert oip.ModelInferRequest.FromString(b"".join(pieces(request))) == request


@given(bodies())
@example(LONG_NAME)
@example(LONG_ID)
def test_a_request_read_by_hand_is_what_protobuf_reads(body: bytes) -> None:
    expected = outcome(oip_messages.decode, body)
    fresh = Codec()
    assert outcome(fresh.decode, body) == expected
    assert outcome(fresh.decode, body) == expected
    assert outcome(REMEMBERS.decode, body) == expected
    assert outcome(REMEMBERS.decode, aligned(body)) == expected


@pytest.mark.parametrize("parts", GOOD)
def test_a_request_with_anything_changed_is_read_as_protobuf_reads_it(parts: list[bytes]) -> None:
    for body in variations(parts):
        expected = outcome(oip_messages.decode, body)
        assert outcome(REMEMBERS.decode, body) == expected, body
        assert outcome(REMEMBERS.decode, aligned(body)) == expected, body


@given(st.binary(max_size=60))
@example(b"")
def test_any_bytes_are_read_as_protobuf_reads_them(body: bytes) -> None:
    assert outcome(REMEMBERS.decode, body) == outcome(oip_messages.decode, body)


@given(requests(), st.data())
def test_changed_bytes_do_not_find_what_others_left_behind(request: oip.ModelInferRequest, data: st.DataObject) -> None:
    """The memo holds the header of a good request while a bad one with nearly the same bytes is read."""
    good = b"".join(pieces(request))
    codec = Codec()
    outcome(codec.decode, good)
    bad = bytearray(good + b"\x00")
    bad[data.draw(st.integers(0, min(len(bad), 100) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(bad[:-1])
    assert outcome(codec.decode, body) == outcome(oip_messages.decode, body)


def image(**fields: str) -> bytes:
    """A request with one tensor that is large."""
    request = oip.ModelInferRequest(model_name="m", raw_input_contents=[bytes(4 * VIEW_BYTES_MIN)], **fields)
    request.inputs.add(name="x", datatype="FP32", shape=[VIEW_BYTES_MIN])
    return request.SerializeToString()


@given(st.text(max_size=12))
def test_a_large_tensor_is_not_copied_out_of_an_aligned_body(id_text: str) -> None:
    body = aligned(image(id=id_text))
    assert np.shares_memory(REMEMBERS.decode(body).inputs[0].array, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("id_text", ["", "1", "12", "123", "1234"])
def test_a_large_tensor_that_begins_anywhere_is_moved_where_it_may_begin(id_text: str) -> None:
    assert REMEMBERS.decode(image(id=id_text)).inputs[0].array.flags.aligned


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Of any datatypes and shapes, with arrays that may be slices of others."""
    tensors = []
    for name in draw(st.lists(NAMES, max_size=3)):
        datatype = draw(st.sampled_from(sorted(DTYPES)))
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3) | st.just((2, VIEW_BYTES_MIN)))
        value = draw(st.binary(max_size=200)) if datatype == "BYTES" else 1
        array = np.full(shape, value, DTYPES[datatype])
        tensors.append(
            Tensor(
                name, datatype, draw(st.sampled_from([array, array.T, array[..., ::2]]) if shape else st.just(array))
            )
        )
    return answer(*tensors, version=draw(NAMES), id_=draw(NAMES))


@given(answers())
def test_an_answer_written_by_hand_is_what_protobuf_writes(answer: Answer) -> None:
    expected = oip_messages.encode(answer)
    fresh = Codec()
    for codec in (fresh, fresh, REMEMBERS):
        assert b"".join(codec.encode(answer)) == expected


def test_large_outputs_are_not_copied_and_small_ones_come_in_one_piece() -> None:
    small, large = np.ones(4, np.float32), np.ones((2, VIEW_BYTES_MIN), np.float32)
    tensors = [Tensor(name, "FP32", array) for name, array in [("a", small), ("b", large), ("c", small)]]
    parts = Codec().encode(answer(*tensors))
    assert len(parts) == 3
    assert np.shares_memory(np.frombuffer(parts[1], np.float32), large)
