"""Which calls may go through a model together: only those whose rows have nothing to do with one another."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference_host.model.loaded import Loaded
from inference_host.model.manifest import read
from inference_host.serving import calibration, loader
from inference_host.serving.calibration import Together, _rows_that_pay
from inference_host.serving.execution import Execution
from tests import models


def graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto] = (),
    *,
    datatype: int = TensorProto.FLOAT,
    shape: Sequence[int | str] = ("n", 4),
    output: Sequence[int | str] = ("n", 4),
) -> Path:
    """x -> y."""
    made = helper.make_model(
        helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info("x", datatype, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
            list(constants),
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9
    onnx.save(made, path)
    return path


def softmax_over_rows(path: Path) -> Path:
    return graph(path, [helper.make_node("Softmax", ["x"], ["y"], axis=0)])


def running_sum(path: Path) -> Path:
    axis = numpy_helper.from_array(np.array(0, np.int64), "axis")
    return graph(path, [helper.make_node("CumSum", ["x", "axis"], ["y"])], [axis])


def less_the_mean_of_all_rows(path: Path) -> Path:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return graph(path, nodes)


def recurrent_over_the_first_axis(path: Path) -> Path:
    """Rows are moments of one series."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (1, 4, 4)), ("r", (1, 4, 4)))
    ]
    axes = [numpy_helper.from_array(np.array([axis], np.int64), f"axis{axis}") for axis in (1, 2)]
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis1"], ["series"]),
        helper.make_node("RNN", ["series", "w", "r"], ["states"], hidden_size=4),
        helper.make_node("Squeeze", ["states", "axis1"], ["flat"]),
        helper.make_node("Squeeze", ["flat", "axis1"], ["y"]),
    ]
    return graph(path, nodes, [*weights, axes[0]])


def fixed_batch(path: Path) -> Path:
    return graph(path, [helper.make_node("Relu", ["x"], ["y"])], shape=[1, 4], output=[1, 4])


def fixed_inside(path: Path) -> Path:
    """It says that its first axis varies, and reshapes to one row."""
    shape = numpy_helper.from_array(np.array([1, 4], np.int64), "shape")
    return graph(path, [helper.make_node("Reshape", ["x", "shape"], ["y"])], [shape])


def one_output_for_all(path: Path) -> Path:
    return graph(path, [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1], keepdims=0)], output=[])


def table(path: Path) -> Path:
    """Two entries; indices beyond them fail."""
    entries = numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(2, 4), "table")
    return graph(
        path, [helper.make_node("Gather", ["table", "x"], ["y"])], [entries], datatype=TensorProto.INT64, shape=["n"]
    )


def together(path: Path) -> Together:
    async def scenario() -> Together:
        async with Execution(1) as execution:
            return (await loader.warm_up(await loader.load(read(path), execution, threads=1), execution)).together

    return asyncio.run(scenario())


@pytest.mark.parametrize("make", [models.affine, table])
def test_rows_that_have_nothing_to_do_with_one_another_go_together(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    found = together(make(tmp_path / "m.onnx"))
    assert found.apart
    assert len(found.runs) > 1


@pytest.mark.parametrize(
    "make",
    [
        softmax_over_rows,
        running_sum,
        less_the_mean_of_all_rows,
        recurrent_over_the_first_axis,
        fixed_batch,
        fixed_inside,
        one_output_for_all,
    ],
)
def test_rows_that_may_see_each_other_never_go_together(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    assert together(make(tmp_path / "m.onnx")) == Together(apart=False, rows_max=1, runs=())


def test_a_model_that_fails_on_other_values_is_served_and_not_batched(tmp_path: Path) -> None:
    entry = numpy_helper.from_array(np.ones((1, 4), np.float32), "table")
    path = graph(
        tmp_path / "m.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [entry],
        datatype=TensorProto.INT64,
        shape=["n"],
    )
    assert not together(path).apart


def test_rows_too_large_to_copy_are_not_tried_together(tmp_path: Path) -> None:
    found = together(models.echo(tmp_path / "m.onnx", "FP32", ("n", 1 << 18)))
    assert found.rows_max == 1
    assert len(found.runs) == 1


@pytest.mark.parametrize(
    ("times", "rows"),
    [
        ([(1, 5.0), (2, 5.2), (4, 5.4), (8, 5.8)], 8),
        ([(1, 5.0), (2, 9.9), (4, 20.0)], 1),
        ([(1, 5.0), (2, 8.6)], 1),
        ([(1, 5.0), (2, 8.4)], 2),
        ([(1, 70.0), (2, 100.0), (4, 160.0), (8, 304.0), (16, 640.0)], 4),
        ([(1, 5.0)], 1),
    ],
)
def test_as_many_rows_go_together_as_pay(times: list[tuple[int, float]], rows: int) -> None:
    """A gain of 15 % per row at least; of the sizes that are nearly as good as the best, the smallest."""
    assert _rows_that_pay(times) == rows


def test_a_sample_without_rows_proves_nothing(tmp_path: Path) -> None:
    async def scenario() -> Loaded:
        async with Execution(1) as execution:
            return await loader.load(read(models.affine(tmp_path / "m.onnx")), execution, threads=1)

    assert not calibration.together(asyncio.run(scenario()), {"x": np.zeros((0, 4), np.float32)}).apart
