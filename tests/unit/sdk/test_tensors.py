"""Values in, numpy out."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from waypost.errors import DataLoss, Invalid
from waypost.tensors import DTYPES, Signature, TensorSpec, arrange, fit, from_raw, to_raw

NUMERIC = sorted(set(DTYPES) - {"BYTES", "BF16"})


@given(
    st.sampled_from(NUMERIC).flatmap(
        lambda name: st.tuples(st.just(name), hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=0, min_side=0)))
    )
)
def test_what_is_encoded_comes_back(case):
    datatype, array = case
    back = from_raw(to_raw(array, datatype), datatype, array.shape)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@given(st.lists(st.binary() | st.text(), max_size=8))
def test_bytes_come_back(elements):
    spec = TensorSpec("s", "BYTES", (-1,))
    expected = [e.encode() if isinstance(e, str) else e for e in elements]
    assert from_raw(to_raw(fit(elements, spec), "BYTES"), "BYTES", [len(elements)]).tolist() == expected


@given(hnp.arrays(np.float32, 5, elements=st.floats(width=32, allow_subnormal=False)))
def test_bf16_keeps_eight_bits_of_precision(array):
    with np.errstate(over="ignore"):
        back = from_raw(to_raw(array, "BF16"), "BF16", array.shape)
    assert back.dtype == np.float32
    finite = np.isfinite(array) & (np.abs(array) < 3.38e38)
    np.testing.assert_allclose(back[finite], array[finite], rtol=2**-8)
    assert (np.isnan(back) == np.isnan(array)).all()


@given(
    st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4),
    st.sampled_from(["INT8", "UINT16", "INT64", "UINT64"]),
)
def test_whole_numbers_are_kept_or_refused_never_wrapped(numbers, datatype):
    limits = np.iinfo(DTYPES[datatype])
    spec = TensorSpec("x", datatype, (-1,))
    # numpy holds a list that needs both a sign and the 64th bit as floats or objects: refusing it is right as well.
    try:
        assert fit(numbers, spec).tolist() == numbers
    except Invalid:
        assert not all(max(limits.min, -(2**63)) <= number <= min(limits.max, 2**63 - 1) for number in numbers)


@given(st.lists(st.floats(), min_size=1), st.sampled_from(["FP16", "FP32", "FP64"]))
def test_finite_numbers_stay_finite_or_are_refused(numbers, datatype):
    largest = float(np.finfo(DTYPES[datatype]).max)
    try:
        array = fit(numbers, TensorSpec("x", datatype, (-1,)))
    except Invalid:
        assert any(largest < abs(number) < float("inf") for number in numbers)
    else:
        np.testing.assert_array_equal(np.isfinite(array), np.isfinite(numbers))


def test_plain_floats_become_the_models_datatype():
    array = fit([[0.1, 2]], TensorSpec("x", "FP32", (-1, 2)))
    assert array.dtype == np.float32
    assert array.tolist() == [[np.float32(0.1), 2.0]]


@pytest.mark.parametrize(
    ("value", "datatype", "shape", "fitted"),
    [
        (3, "FP32", (-1, 1), (1, 1)),
        (3, "FP32", (), ()),
        ([1, 2, 3], "FP32", (-1, 3), (1, 3)),
        ([[1], [2]], "INT32", (-1, 1), (2, 1)),
        (3.0, "INT64", (1,), (1,)),
        (np.float64(3), "FP32", (1,), (1,)),
        (True, "BOOL", (-1,), (1,)),
        ("a", "BYTES", (-1, 1), (1, 1)),
        ([], "FP32", (-1,), (0,)),
    ],
)
def test_plain_values_are_fitted(value, datatype, shape, fitted):
    array = fit(value, TensorSpec("x", datatype, shape))
    assert array.shape == fitted
    assert array.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("value", "datatype"),
    [
        (1e39, "FP32"),
        (70000.0, "FP16"),
        (1.5, "INT32"),
        (float("nan"), "INT32"),
        (300, "UINT8"),
        (-1, "UINT8"),
        (2.0**63, "INT64"),
        (2**64, "UINT64"),
        (1, "BOOL"),
        (True, "FP32"),
        ("1.5", "FP32"),
        (7, "BYTES"),
        (None, "FP32"),
        ([[1, 2], [3]], "FP32"),
    ],
)
def test_plain_values_that_the_datatype_cannot_hold_are_refused(value, datatype):
    with pytest.raises(Invalid) as caught:
        fit(value, TensorSpec("x", datatype, (-1,)))
    assert caught.value.reason == "BAD_VALUE"
    assert "'x'" in caught.value.message


def test_an_array_of_another_dtype_is_refused_naming_both():
    with pytest.raises(Invalid, match=re.escape("array of float64, the model takes FP32 (numpy float32)")) as caught:
        fit(np.zeros((1, 3)), TensorSpec("x", "FP32", (-1, 3)))
    assert caught.value.reason == "WRONG_DATATYPE"
    assert "astype(np.float32)" in caught.value.hint


def test_an_arrays_byte_order_and_layout_do_not_matter():
    array = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    raw = to_raw(fit(array, TensorSpec("x", "FP32", (2, 3))), "FP32")
    assert raw == np.arange(6, dtype="<f4").tobytes()


def test_an_arrays_shape_is_never_stretched():
    with pytest.raises(Invalid, match=re.escape("is [3], the model takes [-1, 3]")) as caught:
        fit(np.zeros(3, np.float32), TensorSpec("x", "FP32", (-1, 3)))
    assert caught.value.reason == "WRONG_SHAPE"


def test_text_arrays_go_to_bytes_inputs():
    assert to_raw(fit(np.array(["ab"]), TensorSpec("s", "BYTES", (-1,))), "BYTES") == b"\x02\0\0\0ab"


TWO = Signature((TensorSpec("a", "FP32", (1,)), TensorSpec("b", "INT64", (1,))), ())


def test_inputs_are_sent_in_the_models_order():
    assert [(spec.name, array.tolist()) for spec, array in arrange({"b": 2, "a": 1}, TWO)] == [("a", [1.0]), ("b", [2])]


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"a": 1}, "MISSING_INPUT"), ({"a": 1, "b": 2, "c": 3}, "UNKNOWN_INPUT"), (5, "MISSING_INPUT")],
)
def test_inputs_that_are_not_the_models_are_refused_by_name(values, reason):
    with pytest.raises(Invalid) as caught:
        arrange(values, TWO)
    assert caught.value.reason == reason
    assert "a, b" in caught.value.hint


@pytest.mark.parametrize(
    ("raw", "datatype", "shape"),
    [
        (b"123", "FP32", [1]),
        (b"1234", "FP32", [2]),
        (b"1234", "FP8", [4]),
        (b"\x09\0\0\0a", "BYTES", [1]),
        (b"\0", "BYTES", [1]),
    ],
)
def test_bytes_that_make_no_tensor_are_refused(raw, datatype, shape):
    with pytest.raises(DataLoss):
        from_raw(raw, datatype, shape)
