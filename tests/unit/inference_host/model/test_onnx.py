"""The default template: signatures from graphs, and a reason that a person can act on for every graph that fails."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference_host.model.onnx import OnnxTemplate
from inference_host.model.template import Context
from inference_host.values.signature import Signature, TensorSpec
from tests import models
from waypost.errors import Exhausted, Internal, Invalid, Precondition

MakeModel = Callable[[Path], object]


def loaded(path: Path) -> OnnxTemplate:
    template = OnnxTemplate()
    template.load(Context(path.parent, "m", "1", path, None, 1))
    return template


def call(template: OnnxTemplate, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return template.postprocess(template.predict(template.preprocess(inputs)))


def refusal(path: Path) -> Precondition:
    with pytest.raises(Precondition) as refused:
        loaded(path)
    return refused.value


def graph(
    path: Path, node: onnx.NodeProto, datatype: int = TensorProto.FLOAT, *, opset: int = 17, ir_version: int = 9
) -> None:
    """x -> y by one node."""
    x, y = (helper.make_tensor_value_info(name, datatype, [1, 1, 4, 4]) for name in "xy")
    made = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = ir_version
    onnx.save(made, path)


def without_its_weights(path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    weights = numpy_helper.from_array(np.ones(4, np.float32), "w")
    made = helper.make_model(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    onnx.save_model(made, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (path.parent / "weights.bin").unlink()


def sequence(path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_model(
        helper.make_graph([helper.make_node("SequenceConstruct", ["x"], ["y"])], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    onnx.save(made, path)


def identity(path: Path, **options: int) -> None:
    graph(path, helper.make_node("Identity", ["x"], ["y"]), **options)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (models.foreign, "UNSUPPORTED_OPERATOR"),
        (lambda path: graph(path, helper.make_node("Frobnicate", ["x"], ["y"])), "UNSUPPORTED_OPERATOR"),
        (
            lambda path: graph(path, helper.make_node("Conv", ["x", "x"], ["y"]), TensorProto.DOUBLE),
            "UNSUPPORTED_OPERATOR",
        ),
        (lambda path: identity(path, opset=99), "UNSUPPORTED_OPSET"),
        (lambda path: identity(path, ir_version=99), "UNSUPPORTED_OPSET"),
        (lambda path: graph(path, helper.make_node("Add", ["x", "missing"], ["y"])), "INVALID_MODEL"),
        (models.corrupt, "CORRUPT_MODEL"),
        (lambda path: path.write_bytes(b""), "CORRUPT_MODEL"),
        (lambda path: path.write_bytes(b"not a model" * 20), "CORRUPT_MODEL"),
        (lambda path: None, "MISSING_FILE"),
        (without_its_weights, "MISSING_FILE"),
        (lambda path: models.echo(path, "BF16"), "UNSUPPORTED_DATATYPE"),
        (sequence, "UNSUPPORTED_DATATYPE"),
    ],
)
def test_a_graph_that_cannot_be_loaded_has_a_reason_and_a_next_step(
    tmp_path: Path, make: MakeModel, reason: str
) -> None:
    make(tmp_path / "model.onnx")
    refused = refusal(tmp_path / "model.onnx")
    assert refused.reason == reason
    assert refused.hint
    assert str(tmp_path) not in refused.message
    assert "ONNXRuntimeError" not in refused.message
    assert "/onnxruntime_src/" not in refused.message


def test_the_operator_that_is_missing_is_named(tmp_path: Path) -> None:
    assert "acme.ops:Warp" in refusal(models.foreign(tmp_path / "m.onnx")).message


def test_the_signature_is_the_graphs(tmp_path: Path) -> None:
    assert loaded(models.mixed(tmp_path / "m.onnx")).signature == Signature(
        (TensorSpec("a", "INT64", (-1, 3)), TensorSpec("b", "FP64", (3,)), TensorSpec("flag", "BOOL", (1,))),
        (
            TensorSpec("sum", "FP64", (-1, 3)),
            TensorSpec("negated", "BOOL", (1,)),
            TensorSpec("a_again", "INT64", (-1, 3)),
        ),
    )


def test_it_answers(tmp_path: Path) -> None:
    template = loaded(models.affine(tmp_path / "m.onnx"))
    assert call(template, x=np.ones((2, 4), np.float32))["y"].tolist() == [[3.0] * 4] * 2


def test_text_goes_through_as_bytes(tmp_path: Path) -> None:
    template = loaded(models.echo(tmp_path / "m.onnx", "BYTES"))
    values = np.array([b"a", "grüße".encode(), b""], dtype=object)
    assert call(template, x=values)["y"].tolist() == values.tolist()


def test_text_that_is_none_is_the_callers_mistake(tmp_path: Path) -> None:
    template = loaded(models.echo(tmp_path / "m.onnx", "BYTES"))
    with pytest.raises(Invalid):
        call(template, x=np.array([b"\xff"], dtype=object))


def test_a_shape_that_the_graph_does_not_take_is_the_callers_mistake(tmp_path: Path) -> None:
    template = loaded(models.affine(tmp_path / "m.onnx"))
    with pytest.raises(Invalid) as refused:
        call(template, x=np.ones((2, 5), np.float32))
    assert refused.value.reason == "WRONG_SHAPE"


def test_an_operator_that_fails_is_the_models_fault(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b"]) for name in ("x", "z")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])
    made = helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", "z"], ["y"])], "g", inputs, [output]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(Internal) as failed:
        call(loaded(tmp_path / "m.onnx"), x=np.ones((2, 3), np.float32), z=np.ones((2, 3), np.float32))
    assert failed.value.reason == "MODEL_FAILED"


def test_a_request_that_needs_more_memory_than_there_is_says_so(tmp_path: Path) -> None:
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])
    made = helper.make_model(
        helper.make_graph([helper.make_node("ConstantOfShape", ["shape"], ["y"])], "g", [shape], [output]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(Exhausted) as refused:
        call(loaded(tmp_path / "m.onnx"), shape=np.array([1 << 22, 1 << 22]))
    assert refused.value.reason == "OUT_OF_MEMORY"


def test_a_runtime_in_a_host_tells_nobody_and_writes_nothing(tmp_path: Path) -> None:
    code = "import inference_host, onnxruntime; onnxruntime.SessionOptions()"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**env, **home})
    assert not list(tmp_path.iterdir())
