"""Probe requests are what the host has warmed up with."""

import json
import struct

import pytest

from edge_agent.position.samples import made_up, probe_requests
from waypost.api.control.v1.model_pb2 import Signature, TensorSpec
from waypost.errors import Precondition


def signature(*specs: tuple[str, list[int]]) -> Signature:
    tensors = [TensorSpec(name=f"x{i}", datatype=datatype, shape=shape) for i, (datatype, shape) in enumerate(specs)]
    return Signature(inputs=tensors)


def test_a_batch_has_one_row_and_other_sizes_are_tried_in_turn() -> None:
    requests = probe_requests(signature(("FP32", [-1, -1, 3])), None, "m")
    assert [list(r.inputs[0].shape) for r in requests] == [[1, 1, 3], [1, 8, 3], [1, 64, 3], [1, 224, 3]]
    (only,) = probe_requests(signature(("FP32", [-1, 3])), None, "m")
    assert struct.unpack("<3f", only.raw_input_contents[0]) == (0.5, 0.5, 0.5)
    assert only.model_name == "m"


def test_every_datatype_can_be_made_up() -> None:
    expected = {
        "BOOL": b"\0", "INT8": b"\0", "UINT64": bytes(8), "FP16": struct.pack("<e", 0.5),
        "FP64": struct.pack("<d", 0.5), "BF16": b"\x00\x3f", "BYTES": b"\x06\0\0\0sample",
    }  # fmt: skip
    request = made_up(signature(*((datatype, [1]) for datatype in expected)), 1, "m")
    assert list(request.raw_input_contents) == list(expected.values())


def test_the_first_sample_is_sent_as_it_is() -> None:
    sample = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}
    for content in (sample, [sample, {"inputs": []}]):
        (request,) = probe_requests(Signature(), json.dumps(content).encode(), "m")
        assert struct.unpack("<4i", request.raw_input_contents[0]) == (1, 2, 3, 4)
        assert list(request.inputs[0].shape) == [2, 2]


def test_texts_are_sent_with_their_lengths() -> None:
    sample = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["a", "bc"]}]}
    (request,) = probe_requests(Signature(), json.dumps(sample).encode(), "m")
    assert request.raw_input_contents[0] == b"\1\0\0\0a\2\0\0\0bc"


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"inputs": [{"name": "x"}]}', b'{"inputs": 3}', b"7"])
def test_samples_that_are_no_requests_are_refused(content: bytes) -> None:
    with pytest.raises(Precondition) as caught:
        probe_requests(Signature(), content, "m")
    assert caught.value.reason == "BAD_SAMPLES"


def test_nothing_can_be_made_up_without_a_signature() -> None:
    with pytest.raises(Precondition, match="nobody says what the model takes"):
        probe_requests(Signature(), None, "m")
    with pytest.raises(Precondition, match="too large"):
        probe_requests(signature(("FP32", [100_000, 100_000])), None, "m")
