"""What a signature lets in, and what it makes up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.values.signature import Signature, TensorSpec, checked_inputs, checked_outputs, made_up_inputs
from inference_host.values.tensors import DTYPES, Tensor
from waypost.errors import Invalid

X = TensorSpec("x", "FP32", (-1, 4))
N = TensorSpec("n", "INT64", (1,))
Y = TensorSpec("y", "FP32", (-1, 4))
Z = TensorSpec("z", "BOOL", (1,))
SIGNATURE = Signature((X, N), (Y, Z))

SPECS = st.builds(
    TensorSpec,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(list(DTYPES)),
    st.lists(st.sampled_from([-1, 1, 2, 3]), max_size=4).map(tuple),
)
UNIQUE = st.lists(SPECS, max_size=3, unique_by=lambda spec: spec.name).map(tuple)


def tensor(spec: TensorSpec, *shape: int) -> Tensor:
    return Tensor(spec.name, spec.datatype, np.zeros(shape, DTYPES[spec.datatype]))


def refusal(*tensors: Tensor) -> str:
    with pytest.raises(Invalid) as refused:
        checked_inputs(SIGNATURE, tensors)
    return refused.value.reason


@given(UNIQUE, st.integers(1, 5))
def test_what_is_made_up_is_let_in(inputs: tuple[TensorSpec, ...], size: int) -> None:
    signature = Signature(inputs, ())
    made_up = made_up_inputs(signature, size)
    tensors = [Tensor(spec.name, spec.datatype, made_up[spec.name]) for spec in inputs]
    assert checked_inputs(signature, tensors).keys() == made_up.keys()


@given(UNIQUE, UNIQUE)
def test_agreement_is_mutual_and_with_oneself(one: tuple[TensorSpec, ...], other: tuple[TensorSpec, ...]) -> None:
    mine, theirs = Signature(one, other), Signature(other, one)
    assert mine.agrees(mine)
    assert mine.agrees(theirs) == theirs.agrees(mine)


def test_inputs_may_come_in_any_order() -> None:
    assert list(checked_inputs(SIGNATURE, [tensor(N, 1), tensor(X, 2, 4)])) == ["n", "x"]


def test_each_thing_that_may_be_wrong_has_its_reason() -> None:
    good = tensor(X, 2, 4), tensor(N, 1)
    assert refusal(good[0]) == "MISSING_INPUT"
    assert refusal(*good, good[0]) == "REPEATED_INPUT"
    assert refusal(*good, tensor(Y, 1, 4)) == "UNKNOWN_INPUT"
    assert refusal(tensor(TensorSpec("x", "FP64", ()), 2, 4), good[1]) == "WRONG_DATATYPE"
    assert refusal(tensor(X, 2, 5), good[1]) == "WRONG_SHAPE"
    assert refusal(tensor(X, 4), good[1]) == "WRONG_SHAPE"


def test_outputs_come_in_the_order_asked_for() -> None:
    assert checked_outputs(SIGNATURE, []) == (Y, Z)
    assert checked_outputs(SIGNATURE, ["z", "y"]) == (Z, Y)


def test_an_output_that_is_not_there_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        checked_outputs(SIGNATURE, ["logits"])
    assert refused.value.reason == "UNKNOWN_OUTPUT"
    assert "y, z" in refused.value.hint


def test_a_graph_that_does_not_tell_its_rank_takes_any_shape() -> None:
    assert TensorSpec("x", "FP32", ()).fits((3, 4))
