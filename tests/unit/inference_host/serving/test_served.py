"""How large a call is, and which lane it goes to."""

import asyncio

import numpy as np
import pytest

from inference_host.model.template import Arrays
from inference_host.serving.backlog import NEVER
from inference_host.serving.execution import Execution
from inference_host.serving.plan import Grouping
from inference_host.values.calls import Call
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import Tensor
from tests.unit.inference_host import planes
from tests.unit.inference_host.planes import call, served


def grouping(*inputs: TensorSpec, output: TensorSpec | None = None) -> Grouping:
    return Grouping(Signature(inputs, (output or TensorSpec("y", "FP32", (-1, 4)),)))


def of(inputs: Arrays, *specs: TensorSpec) -> tuple[object, ...]:
    return grouping(*specs).of(inputs)


X = TensorSpec("x", "FP32", (-1, 4))
VARIES = TensorSpec("x", "FP32", (-1, -1))


def test_rows_are_the_first_size_where_every_first_size_varies() -> None:
    assert of({"x": np.zeros((3, 4), np.float32)}, X) == (3, 12, 48, ())


@pytest.mark.parametrize("fixed", [TensorSpec("x", "FP32", (4,)), TensorSpec("x", "FP32", ())])
def test_what_has_no_rows_is_one_row_and_goes_with_no_other(fixed: TensorSpec) -> None:
    assert of({"x": np.zeros((4,), np.float32)}, fixed) == (1, 4, 16, None)


def test_an_output_without_rows_is_enough_to_have_none() -> None:
    made = grouping(X, output=TensorSpec("mean", "FP32", ()))
    assert made.of({"x": np.zeros((3, 4), np.float32)}) == (1, 12, 48, None)


def test_only_equal_shapes_behind_the_rows_are_a_group() -> None:
    groups = [of({"x": np.zeros((3, size), np.float32)}, VARIES)[3] for size in (4, 4, 5)]
    assert groups[0] == groups[1] != groups[2]
    assert None not in groups


def test_inputs_with_different_numbers_of_rows_go_with_no_other() -> None:
    z = TensorSpec("z", "FP32", (-1,))
    inputs = {"x": np.zeros((3, 4), np.float32), "z": np.zeros((2,), np.float32)}
    assert of(inputs, X, z)[3] is None
    assert of({**inputs, "z": np.zeros((3,), np.float32)}, X, z) == (3, 15, 60, ())


def test_no_rows_at_all_go_with_no_other() -> None:
    assert of({"x": np.zeros((0, 4), np.float32)}, X) == (0, 0, 0, None)


def test_a_model_without_inputs_has_no_rows() -> None:
    assert grouping().of({}) == (1, 0, 0, None)


def test_text_is_counted_with_its_bytes() -> None:
    text = np.array([b"x" * 1000, b""], dtype=object)
    _, size, nbytes, _ = of({"x": text}, TensorSpec("x", "BYTES", (-1,)))
    assert (size, nbytes) == (2, -1)
    text_call = Call("m", "", [Tensor("x", "BYTES", text)])
    signature = Signature((TensorSpec("x", "BYTES", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))

    async def main() -> None:
        async with Execution(1) as execution:
            plane = planes.plane(served(signature=signature), execution, asyncio.get_running_loop().time)
            lanes = plane.served[0].lanes
            assert lanes is not None
            ask = lanes.plan(text_call).ask(text_call, NEVER, lambda outcome: None, 0.0)
            assert ask.bytes == 1000 + text.nbytes

    asyncio.run(main())


def test_small_calls_run_on_the_loop_and_large_ones_on_threads() -> None:
    async def main() -> None:
        async with Execution(1) as execution:
            loop = asyncio.get_running_loop()
            plane = planes.plane(served(), execution, loop.time)
            lanes = plane.served[0].lanes
            assert lanes is not None
            small, large = lanes.all
            for rows, lane in ((50, small), (51, large)):  # 100 elements may
                assert lanes.plan(call(rows=rows)).way.lane is lane
            assert (await plane.infer(call(rows=51))).outputs[0].shape == (51, 2)

    asyncio.run(main())
