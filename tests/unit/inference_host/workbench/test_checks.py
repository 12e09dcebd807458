"""What counts as the expected answer, and what is said where another one came."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inference_host.values.tensors import Tensor
from inference_host.workbench.checks import difference, rows_of, side_by_side

FLOATS = arrays.arrays(np.float32, arrays.array_shapes(max_dims=3, max_side=4))


def tensor(values: object, datatype: str = "FP32", name: str = "y") -> Tensor:
    dtype = {"FP32": np.float32, "INT64": np.int64, "BYTES": object, "BF16": np.uint16}[datatype]
    return Tensor(name, datatype, np.array(values, dtype))


def said(found: Tensor, expected: Tensor, *, rtol: float = 0.0, atol: float = 0.0) -> str:
    return difference([found], [expected], rtol=rtol, atol=atol)


@given(FLOATS)
def test_an_answer_is_what_it_is(values: np.ndarray) -> None:
    assert said(Tensor("y", "FP32", values), Tensor("y", "FP32", values.copy())) == ""


@given(st.floats(-1e6, 1e6, width=32), st.floats(0, 0.5))
def test_floats_may_differ_by_the_tolerance_and_no_more(value: float, rtol: float) -> None:
    expected = np.float64(np.float32(value))
    size = abs(expected)
    within, beyond = expected + rtol / 2 * size, expected + 2 * rtol * size + 1e-3 * (1 + size)
    assert said(tensor(within), tensor(value), rtol=rtol, atol=1e-6 * (1 + abs(value))) == ""
    assert said(tensor(beyond), tensor(value), rtol=rtol) != ""


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (tensor([1.0, 2.5]), tensor([1.0, 3.0]), "y[1] is 2.5, expected 3 (1 of 2 values differ)"),
        (tensor([[1.0]]), tensor([1.0]), "y has shape [1, 1], expected [1]"),
        (tensor([1], "INT64"), tensor([1.0]), "y is INT64, expected FP32"),
        (tensor([1], "INT64"), tensor([2], "INT64"), "y[0] is 1, expected 2"),
        (tensor([b"a", b"c"], "BYTES"), tensor([b"a", b"b"], "BYTES"), "y[1] is b'c', expected b'b' (1 of 2"),
        (tensor([0x3F80], "BF16"), tensor([0x4000], "BF16"), "y[0] is 1, expected 2"),
        (tensor([1.0], name="z"), tensor([1.0]), "output 'y' is missing: there is z"),
        (tensor([np.nan]), tensor([1.0]), "y[0] is nan, expected 1"),
    ],
)
def test_what_differs_is_said_with_its_place(found: Tensor, expected: Tensor, words: str) -> None:
    assert said(found, expected).startswith(words)


def test_nan_is_expected_to_be_nan() -> None:
    assert said(tensor([np.nan, 1.0]), tensor([np.nan, 1.0])) == ""


def test_outputs_that_nobody_expects_are_not_looked_at() -> None:
    assert difference([tensor([1.0]), tensor([2.0], name="z")], [tensor([1.0])], rtol=0, atol=0) == ""


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_rows_side_by_side_come_apart_again(sizes: list[int]) -> None:
    requests = [[tensor(np.full((rows, 2), number))] for number, rows in enumerate(sizes)]
    together = side_by_side(requests)
    assert together is not None
    at = 0
    for request, rows in zip(requests, sizes, strict=True):
        assert difference(rows_of(together, at, at + rows), request, rtol=0, atol=0) == ""
        at += rows


def test_requests_of_other_sizes_do_not_stand_side_by_side() -> None:
    assert side_by_side([[tensor([[1.0]])], [tensor([[1.0, 2.0]])]]) is None
