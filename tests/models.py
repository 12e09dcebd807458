"""Tiny models for tests, each written by one function.

affine         FP32 [-1, 4] -> y = 2 x + 1
mixed          several inputs and outputs of several datatypes
echo           one datatype, out comes what went in (BYTES, FP16, ...)
slow           FP32 [-1, n, n]: many matrix products, to be in flight for a while
features       one that takes a number of features without saying how many
holding        a template that holds a call until it is let go
totals         a template that keeps state: each sequence's sum
template       any other template, by its source
hanging        the source of a template that hangs on negative numbers
foreign        an operator of nobody's, which no runtime can have
corrupt        half a model
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
NOTHING: Mapping[str, str] = MappingProxyType({})
IR_VERSION = 9

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def affine(path: Path, *, scale: float = 2.0, offset: float = 1.0) -> Path:
    """x FP32 [-1, 4] -> y FP32 [-1, 4] = scale x + offset."""
    constants = [_constant("scale", np.float32(scale)), _constant("offset", np.float32(offset))]
    nodes = [helper.make_node("Mul", ["x", "scale"], ["scaled"]), helper.make_node("Add", ["scaled", "offset"], ["y"])]
    return _save(path, nodes, [_value("x", "FP32", ["n", 4])], [_value("y", "FP32", ["n", 4])], constants)


def mixed(path: Path) -> Path:
    """a INT64 [-1, 3], b FP64 [3], flag BOOL [1] -> sum FP64 [-1, 3] = a + b, negated BOOL [1], a_again INT64 = a."""
    nodes = [
        helper.make_node("Cast", ["a"], ["a_float"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["a_float", "b"], ["sum"]),
        helper.make_node("Not", ["flag"], ["negated"]),
        helper.make_node("Identity", ["a"], ["a_again"]),
    ]
    inputs = [_value("a", "INT64", ["n", 3]), _value("b", "FP64", [3]), _value("flag", "BOOL", [1])]
    outputs = [_value("sum", "FP64", ["n", 3]), _value("negated", "BOOL", [1]), _value("a_again", "INT64", ["n", 3])]
    return _save(path, nodes, inputs, outputs)


def features(path: Path, count: int) -> Path:
    """x FP32 [-1, -1], of which only [-1, count] goes through -> y FP32 [-1, 1], their sum."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = [_constant("w", np.ones((count, 1), np.float32))]
    return _save(path, nodes, [_value("x", "FP32", ["n", "m"])], [_value("y", "FP32", ["n", 1])], weights)


def echo(path: Path, datatype: str, shape: Sequence[int | str] = ("n",)) -> Path:
    """x -> y of the same datatype and values."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return _save(path, nodes, [_value("x", datatype, shape)], [_value("y", datatype, shape)])


def slow(path: Path, *, size: int = 256, products: int = 64) -> Path:
    """x FP32 [-1, size, size] -> y of the same shape, after `products` matrix products; about 10 ms each 30 of them."""
    nodes = [
        helper.make_node("MatMul", [f"v{number}" if number else "x", "w"], [f"v{number + 1}"])
        for number in range(products)
    ]
    nodes.append(helper.make_node("Identity", [f"v{products}"], ["y"]))
    shape = ["n", size, size]
    weights = [_constant("w", np.eye(size, dtype=np.float32))]
    return _save(path, nodes, [_value("x", "FP32", shape)], [_value("y", "FP32", shape)], weights)


HOLDING = """
import time
import uuid

class Holding:
    def load(self, context):
        self.directory = context.directory

    def predict(self, inputs):
        if inputs["x"][0] > 0:
            (self.directory / f"held-{uuid.uuid4()}").touch()
            while not (self.directory / "go").exists():
                time.sleep(0.01)
        return {"y": inputs["x"]}
"""


def holding(directory: Path) -> Path:
    """Model `holding`, x FP32 [1] -> y = x. A call with x > 0 leaves a file `held-*` and ends once `go` exists."""
    spec = {"datatype": "FP32", "shape": [1]}
    return template(
        directory,
        HOLDING,
        "Holding",
        samples={"inputs": [{"name": "x", **spec, "data": [0]}]},
        signature={"inputs": [{"name": "x", **spec}], "outputs": [{"name": "y", **spec}]},
    )


HANGING = """
import threading

class Hanging:
    def load(self, context):
        pass

    def predict(self, inputs):
        if inputs["x"].min() < 0:
            threading.Event().wait()
        return {"y": 2 * inputs["x"] + 1}
"""
"""x FP32 [-1, 4] -> y = 2 x + 1; a call with a negative number never ends."""


SLOW = """
import time

class Slow:
    def load(self, context):
        pass

    def predict(self, inputs):
        time.sleep(0.02)
        return {"y": 2 * inputs["x"] + 1}
"""
"""x FP32 [-1, 4] -> y = 2 x + 1, after 20 ms without any CPU."""


TOTALS = """
class Totals:
    def load(self, context):
        self.steps = context.metrics.counter("steps_total", "steps of sequences")

    def start_sequence(self):
        return {"total": 0}

    def predict(self, inputs, state):
        if inputs["x"][0] < 0:
            raise SystemExit(1)
        self.steps.add()
        state["total"] = state["total"] + inputs["x"]
        return {"y": state["total"]}
"""


def totals(directory: Path) -> Path:
    """Model `totals`, x INT32 [1] -> y = the sum of all x of its sequence; x < 0 fails. Counts `steps_total`."""
    spec = {"datatype": "INT32", "shape": [1]}
    return template(
        directory,
        TOTALS,
        "Totals",
        samples=[{"inputs": [{"name": "x", **spec, "data": [1]}]}] * 2,
        signature={"inputs": [{"name": "x", **spec}], "outputs": [{"name": "y", **spec}]},
        keepsState=True,
    )


def foreign(path: Path) -> Path:
    """x FP32 [4] -> y, by operator Warp of domain `acme.ops`."""
    nodes = [helper.make_node("Warp", ["x"], ["y"], domain="acme.ops")]
    return _save(path, nodes, [_value("x", "FP32", [4])], [_value("y", "FP32", [4])], domains=["acme.ops"])


def corrupt(path: Path) -> Path:
    """The first half of a good model."""
    affine(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def template(
    directory: Path,
    code: str,
    class_name: str,
    *,
    samples: object,
    model: str = "",
    files: Mapping[str, str] = NOTHING,
    **declared: object,
) -> Path:
    """A package with a template, as the importer lays one out.

    samples: JSON, as text or not yet; None where there are none. model: its id; the class's name in small letters if
    not given. files: content of what else there is, by name. declared: what else the manifest says.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = {"template.py": code, **files}
    if samples:
        content["samples.json"] = samples if isinstance(samples, str) else json.dumps(samples)
    for name, text in content.items():
        (directory / name).write_text(text)
    always = {
        "name": f"projects/p/applications/a/models/{model or class_name.lower()}/versions/1",
        "framework": "template",
        "templateClass": f"template:{class_name}",
        "artifacts": [{"path": name, "digest": "sha256:aa"} for name in content],
    }
    manifest(directory, **{**always, **declared})
    return directory


def manifest(directory: Path, **fields: object) -> Path:
    """A package's manifest.json: ProtoJSON of control.v1.ModelVersion."""
    path = directory / "manifest.json"
    path.write_text(json.dumps(fields))
    return path


def _value(name: str, datatype: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], shape)


def _constant(name: str, value: np.ndarray | np.generic) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    opset: int = OPSET,
    domains: Sequence[str] = (),
) -> Path:
    graph = helper.make_graph(list(nodes), path.stem, list(inputs), list(outputs), list(constants))
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = IR_VERSION
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
