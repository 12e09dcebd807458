"""`waypost infer`: what people type becomes a request that fits the model."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from console import inference
from console.kinds import POSITION, VERSION
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform
from waypost.api.control.v1.model_pb2 import Signature, TensorSpec
from waypost.api.control.v1.position_pb2 import TryPositionResponse
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest, ModelInferResponse
from waypost.errors import Invalid

TWO = Signature(
    inputs=[TensorSpec(name="x", datatype="FP32", shape=[-1, 3]), TensorSpec(name="n", datatype="INT64", shape=[1])]
)
ONE = Signature(inputs=TWO.inputs[:1], outputs=[TensorSpec(name="y", datatype="FP32", shape=[-1, 3])])


def raw(given: object, signature: Signature) -> dict[str, bytes]:
    request = inference.request(given, signature)
    return {tensor.name: data for tensor, data in zip(request.inputs, request.raw_input_contents, strict=True)}


def test_json_and_files_are_the_same_to_the_model(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.0, 3.0]]))  # float64, as numpy makes it
    (tmp_path / "x.json").write_text("[[1, 2, 3]]")
    expected = {"x": np.array([1, 2, 3], "<f4").tobytes(), "n": np.array([7], "<i8").tobytes()}
    for x in ("[1, 2, 3]", "[[1.0, 2, 3]]", f"@{tmp_path}/x.npy", f"@{tmp_path}/x.json"):
        assert raw(inference.values([f"x={x}", "n=7"], None), TWO) == expected
    assert raw(inference.values([], '{"x": [1, 2, 3], "n": [7]}'), TWO) == expected


def test_a_body_may_be_the_value_itself_or_a_request_of_the_protocol() -> None:
    expected = {"x": np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes()}
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]}
    assert raw(inference.values([], "[[1, 2, 3], [4, 5, 6]]"), ONE) == expected
    assert raw(inference.values([], json.dumps(body)), ONE) == expected


def test_a_body_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]"))
    assert inference.values([], "-") == [1, 2]


@pytest.mark.parametrize(
    ("inputs", "body", "message"),
    [
        (["x"], None, "'x' is no input"),
        (["x=abc"], None, "this is neither JSON nor .npy"),
        (["x=@nowhere.npy"], None, "nowhere.npy cannot be read: No such file or directory"),
        (["x=1"], "[1]", "--input and a JSON body exclude each other"),
        ([], None, "nothing to infer from"),
        ([], '{"inputs": [{"data": [1]}]}', "looks like an inference request"),
    ],
)
def test_what_is_no_input_is_refused(inputs: list[str], body: str | None, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        inference.values(inputs, body)


def test_what_json_has_no_word_for_is_null() -> None:
    response = ModelInferResponse(raw_output_contents=[np.array([1, np.nan], "<f4").tobytes(), b"\x02\0\0\0\xff!"])
    response.outputs.add(name="y", datatype="FP32", shape=[2])
    response.outputs.add(name="s", datatype="BYTES", shape=[1])
    assert inference.outputs(response) == {"y": [1.0, None], "s": ["\ufffd!"]}


@pytest.fixture
def echo(platform: FakePlatform) -> FakePlatform:
    """A position whose model doubles what it is given; version 2 serves while 3 is wanted."""
    for version, signature in (("2", ONE), ("3", TWO)):
        found = VERSION.new(f"projects/uav/applications/path/models/lstm/versions/{version}")
        found.signature.CopyFrom(signature)
        platform.put(found)
    position = POSITION.new("projects/uav/applications/path/positions/tower-7")
    position.spec.model_version = "projects/uav/applications/path/models/lstm/versions/3"
    position.status.serving.add(model_version="projects/uav/applications/path/models/lstm/versions/2", weight=100)
    platform.put(position)

    def answer(request: object) -> TryPositionResponse:
        asked = ModelInferRequest.FromString(request.request)
        doubled = np.frombuffer(asked.raw_input_contents[0], "<f4") * 2
        response = ModelInferResponse(model_name="tower-7", model_version="2", raw_output_contents=[doubled.tobytes()])
        response.outputs.add(name="y", datatype="FP32", shape=asked.inputs[0].shape)
        return TryPositionResponse(response=response.SerializeToString(), latency_ms=1.25)

    platform.answers["TryPosition"] = answer
    return platform


def test_the_answer_is_shown_with_who_gave_it(echo: FakePlatform, waypost: Run) -> None:
    code, out, err = waypost("infer", "uav/path/tower-7", "[1, 2, 3]")
    assert (code, out) == (0, "y: [[2.0, 4.0, 6.0]]\n")
    assert err == "\ntower-7 2 · 1.25 ms\n"
    code, out, _ = waypost("infer", "uav/path/tower-7", "--input", "x=[1, 2, 3]", "-o", "json")
    shown = {"model_name": "tower-7", "model_version": "2", "latency_ms": 1.25, "outputs": {"y": [[2.0, 4.0, 6.0]]}}
    assert json.loads(out) == shown


def test_inputs_that_do_not_fit_are_refused_before_they_are_sent(echo: FakePlatform, waypost: Run) -> None:
    code, _, err = waypost("infer", "uav/path/tower-7", "[1, 2]")
    assert code == 2
    assert "input 'x' is [1, 2], the model takes [-1, 3]" in err
    assert "TryPosition" not in [method for method, _ in echo.calls]
