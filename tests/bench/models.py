"""The three models that every server serves, and inputs with their right answers.

    mlp   16 -> 32 -> 4 with softmax; 64 bytes in: nothing but the server's own cost
    ts    64 steps of 8 features through an LSTM of 64; 2 KB in: what runs at a cell or a drone
    img   224 x 224 x 3 through a small depthwise network; 602 KB in: what moving bytes costs

Each takes `x` and gives `y`, FP32, with a batch dimension of any size. Weights and inputs are seeded, so all runs
measure the same. Right answers come from onnxruntime in this process, one input at a time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # what the oldest onnxruntime among the peers reads
WEIGHTS_SEED, INPUTS_SEED = 7, 11
INPUT, OUTPUT = "x", "y"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    shape: tuple[int, ...]
    """Of one input, without the batch dimension."""
    graph: Callable[[], onnx.ModelProto]
    inputs: int
    """How many different inputs are sent in turn: an answer to another call is a wrong answer, and seen."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An input of one row, and its right answer."""

    x: Floats
    y: Floats


def write(models: Sequence[Model], directory: Path) -> dict[str, list[Sample]]:
    """Writes `directory/<name>/model.onnx` for each, and returns its samples by name."""
    return {model.name: _write_one(model, directory / model.name) for model in models}


def _write_one(model: Model, directory: Path) -> list[Sample]:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.onnx"
    onnx.save(model.graph(), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(INPUTS_SEED)
    rows = [random.random((1, *model.shape), dtype=np.float32).round(4) for _ in range(model.inputs)]
    return [Sample(x, session.run([OUTPUT], {INPUT: x})[0]) for x in rows]


class _Graph:
    """A graph that is written node by node."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(WEIGHTS_SEED)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], *, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """The name of its last output, made up where none are given."""
        names = list(outputs) or [f"{operator}_{len(self._nodes)}"]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[-1]

    def weights(self, *shape: int, scale: float | None = None) -> str:
        """Normal with this deviation; by default such that activations keep their size."""
        deviation = scale or prod(shape[1:]) ** -0.5
        return self.constant(self._random.standard_normal(shape).astype(np.float32) * np.float32(deviation))

    def constant(self, values: npt.NDArray[np.generic]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(values, name))
        return name

    def dense(self, value: str, inputs: int, outputs: int) -> str:
        return self.node("Gemm", [value, self.weights(outputs, inputs), self.weights(outputs)], transB=1)

    def convolution(self, value: str, channels: tuple[int, int], *, size: int, stride: int = 1, groups: int = 1) -> str:
        """With ReLU. channels: in, out."""
        weights = self.weights(channels[1], channels[0] // groups, size, size)
        bias = self.weights(channels[1], scale=0.01)
        attributes: dict[str, Any] = {
            "kernel_shape": [size, size],
            "strides": [stride, stride],
            "pads": [size // 2] * 4,
        }
        return self.node("Relu", [self.node("Conv", [value, weights, bias], group=groups, **attributes)])

    def finish(self, value: str, shape: Sequence[int], outputs: int) -> onnx.ModelProto:
        self.node("Identity", [value], outputs=[OUTPUT])
        graph = helper.make_graph(
            self._nodes,
            "bench",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", outputs])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def _mlp() -> onnx.ModelProto:
    graph = _Graph()
    hidden = graph.node("Relu", [graph.dense(INPUT, 16, 32)])
    return graph.finish(graph.node("Softmax", [graph.dense(hidden, 32, 4)], axis=-1), MLP.shape, 4)


def _ts() -> onnx.ModelProto:
    units, features, graph = 64, TS.shape[1], _Graph()
    steps_first = graph.node("Transpose", [INPUT], perm=[1, 0, 2])
    gates = [graph.weights(1, 4 * units, features, scale=0.2), graph.weights(1, 4 * units, units, scale=0.1)]
    bias = graph.weights(1, 8 * units, scale=0.1)
    last = graph.node("LSTM", [steps_first, *gates, bias], outputs=["", "hidden"], hidden_size=units)
    state = graph.node("Squeeze", [last, graph.constant(np.array([0], np.int64))])
    return graph.finish(graph.dense(state, units, 8), TS.shape, 8)


def _img() -> onnx.ModelProto:
    """A MobileNet of half the usual width, 1.1 million parameters."""
    graph = _Graph()
    value, width = graph.convolution(INPUT, (3, 16), size=3, stride=2), 16
    for wider, stride in (
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (256, 1),
        (512, 2),
        (512, 1),
    ):
        value = graph.convolution(value, (width, width), size=3, stride=stride, groups=width)
        value, width = graph.convolution(value, (width, wider), size=1), wider
    pooled = graph.node("Flatten", [graph.node("GlobalAveragePool", [value])])
    return graph.finish(graph.dense(pooled, width, 1000), IMG.shape, 1000)


MLP = Model("mlp", (16,), _mlp, inputs=8)
TS = Model("ts", (64, 8), _ts, inputs=8)
IMG = Model("img", (3, 224, 224), _img, inputs=3)
ALL = (MLP, TS, IMG)
