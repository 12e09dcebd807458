"""Laws of tensors: out(in(x)) == x for every datatype and form, and nothing arrives as something else."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference_host.values.tensors import DTYPES, VIEW_BYTES_MIN, Tensor, from_raw, from_values, to_raw, to_values
from waypost.errors import Invalid

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
NUMERIC = [datatype for datatype in DTYPES if datatype != "BYTES"]
INTEGERS = [datatype for datatype in NUMERIC if datatype.startswith(("INT", "UINT"))]


def texts(shape: tuple[int, ...], elements: st.SearchStrategy[bytes]) -> st.SearchStrategy[np.ndarray]:
    count = int(np.prod(shape))
    return st.lists(elements, min_size=count, max_size=count).map(lambda values: objects(values, shape))


def objects(values: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str]) -> Tensor:
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        return Tensor("t", datatype, draw(texts(shape, st.binary(max_size=8))))
    return Tensor("t", datatype, draw(hnp.arrays(DTYPES[datatype], shape)))


def same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, NaNs included."""
    return (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape) and (
        one.array.tolist() == other.array.tolist()
        if one.datatype == "BYTES"
        else one.array.tobytes() == other.array.tobytes()
    )


@given(tensors(list(DTYPES)))
def test_raw_bytes_come_back_as_they_were(tensor: Tensor) -> None:
    assert same(from_raw("t", tensor.datatype, tensor.shape, to_raw(tensor)), tensor)


@given(tensors(NUMERIC), st.integers(1, 7))
def test_raw_bytes_may_begin_anywhere_in_a_body(tensor: Tensor, offset: int) -> None:
    body = memoryview(b"\xff" * offset + to_raw(tensor))[offset:]
    found = from_raw("t", tensor.datatype, tensor.shape, body)
    assert same(found, tensor)
    assert found.array.flags.aligned


@pytest.mark.parametrize("datatype", NUMERIC)
def test_large_arrays_are_not_copied_into_raw_bytes(datatype: str) -> None:
    array = np.ones((2, VIEW_BYTES_MIN), DTYPES[datatype])
    raw = to_raw(Tensor("t", datatype, array))
    assert isinstance(raw, memoryview)
    assert (len(raw), raw.readonly) == (array.nbytes, True)
    assert np.shares_memory(np.frombuffer(raw, DTYPES[datatype]), array)
    assert to_raw(Tensor("t", datatype, array.T)) == raw  # of another layout: its bytes in the order of the shape


@given(tensors(list(DTYPES)).filter(lambda t: t.array.dtype.kind != "f" or not np.isnan(t.array).any()))
def test_plain_values_come_back_as_they_were(tensor: Tensor) -> None:
    values = to_values(tensor)
    if tensor.datatype == "BF16" and np.isnan(np.array(values, dtype=float)).any():
        return  # a NaN stays one, but not which one
    found = from_values("t", tensor.datatype, tensor.shape, values)
    assert found.array.dtype == DTYPES[tensor.datatype]
    assert found.array.tolist() == tensor.array.tolist()


@given(tensors(NUMERIC).filter(lambda t: t.array.dtype.kind != "f" and t.datatype != "BF16" and t.array.size > 0))
def test_nested_values_are_the_same_as_flat_ones(tensor: Tensor) -> None:
    nested = from_values("t", tensor.datatype, tensor.shape, tensor.array.tolist())
    assert same(nested, from_values("t", tensor.datatype, tensor.shape, tensor.array.ravel().tolist()))


@given(st.sampled_from(NUMERIC), SHAPES, st.binary(max_size=64))
def test_bytes_of_another_length_are_refused(datatype: str, shape: tuple[int, ...], data: bytes) -> None:
    if len(data) == int(np.prod(shape)) * DTYPES[datatype].itemsize:
        return
    with pytest.raises(Invalid) as refused:
        from_raw("t", datatype, shape, data)
    assert refused.value.reason == "BAD_DATA"


@given(SHAPES, st.binary(max_size=64))
def test_any_bytes_are_text_or_refused(shape: tuple[int, ...], data: bytes) -> None:
    with suppress(Invalid):
        assert to_raw(from_raw("t", "BYTES", shape, data)) == data


@given(st.sampled_from(list(DTYPES)), st.lists(st.integers(-2, 2**62), max_size=40), st.binary(max_size=32))
def test_any_shape_is_taken_or_refused(datatype: str, shape: list[int], data: bytes) -> None:
    with suppress(Invalid):
        assert list(from_raw("t", datatype, shape, data).shape) == shape


@given(st.sampled_from(INTEGERS), st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4))
def test_integers_arrive_exactly_or_not_at_all(datatype: str, values: list[int]) -> None:
    limits = np.iinfo(DTYPES[datatype])
    if all(limits.min <= value <= limits.max for value in values):
        assert to_values(from_values("t", datatype, [len(values)], values)) == values
    else:
        with pytest.raises(Invalid):
            from_values("t", datatype, [len(values)], values)


@given(st.sampled_from(["FP16", "FP32", "BF16"]), st.floats(allow_nan=False))
def test_a_finite_number_never_becomes_infinite(datatype: str, value: float) -> None:
    with suppress(Invalid):
        (found,) = to_values(from_values("t", datatype, [1], [value]))
        assert np.isinf(found) == np.isinf(value)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("INT32", [1.5]),
        ("INT32", [True]),
        ("INT32", ["1"]),
        ("INT32", [None]),
        ("INT64", [float("nan")]),
        ("INT64", [1e300]),
        ("BOOL", [1]),
        ("FP32", ["1"]),
        ("FP32", [True]),
        ("BYTES", [1]),
        ("BYTES", [None]),
        ("BYTES", ["\ud800"]),
        ("FP32", [[1.0], 2.0]),
    ],
)
def test_values_of_another_kind_are_refused(datatype: str, values: list[object]) -> None:
    with pytest.raises(Invalid) as refused:
        from_values("t", datatype, [len(values)], values)
    assert refused.value.reason == "BAD_DATA"
    assert "'t'" in refused.value.message


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16", "BF16"])
def test_none_is_nan_where_there_is_one(datatype: str) -> None:
    found = to_values(from_values("t", datatype, [2, 2], [[None, 1], [2.5, None]]))
    assert np.array_equal(found, [np.nan, 1, 2.5, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("datatype", "values", "said"),
    [
        ("INT32", [1, None], "element 1 is null, which INT32 does not take"),
        ("BOOL", [None, True], "element 0 is null, which BOOL does not take"),
        ("BYTES", ["a", None], "element 1 is null, BYTES takes strings"),
        ("FP32", [None, True], "element 1 is a boolean, which FP32 does not take"),
        ("FP64", [None, {}], "element 1 is no single value, which FP64 does not take"),
        ("FP32", [None, 1e300], "1e+300 is beyond the range of FP32"),
        ("FP64", [None, 10**400], "an integer beyond the range of FP64"),
        ("UINT64", [2**70, 0.5], "element 1 is a float, which UINT64 does not take"),
        ("INT64", [-(2**70)], f"{-(2**70)} is beyond the range of INT64"),
    ],
)
def test_a_value_among_others_that_does_not_fit_is_named(datatype: str, values: list[object], said: str) -> None:
    with pytest.raises(Invalid) as refused:
        from_values("t", datatype, [len(values)], values)
    assert said in refused.value.message


def test_integers_of_any_size_are_floats_where_a_float_can_hold_them() -> None:
    assert to_values(from_values("t", "FP64", [2], [2**70, 0.5])) == [2.0**70, 0.5]


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert to_values(from_values("t", "INT64", [2], [3.0, -(2.0**53)])) == [3, -(2**53)]


def test_unsigned_integers_above_all_signed_ones_are_exact() -> None:
    values = [1, 2**63, 2**64 - 1]
    assert to_values(from_values("t", "UINT64", [3], values)) == values


def test_values_nested_in_another_shape_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        from_values("t", "FP32", [2, 3], [[1, 2], [3, 4], [5, 6]])
    assert "nested as [3, 2]" in refused.value.message


def test_text_keeps_its_trailing_zero_bytes() -> None:
    assert to_values(from_values("t", "BYTES", [2], ["a\0", b"\xff\0"])) == [b"a\0", b"\xff\0"]


def test_any_byte_but_zero_is_true() -> None:
    assert from_raw("t", "BOOL", [3], b"\x00\x01\x07").array.tolist() == [False, True, True]


@pytest.mark.parametrize("value", [3.4e38, -3.4e38])
def test_a_number_that_bf16_would_round_to_infinity_is_refused(value: float) -> None:
    with pytest.raises(Invalid) as refused:
        from_values("t", "BF16", [2], [float("inf"), value])
    assert "3.4" in refused.value.message


def test_arrays_of_the_datatypes_own_dtype_are_taken_as_they_are() -> None:
    values = np.array([[0.1, np.nan]], np.float32)
    assert from_values("t", "FP32", [1, 2], values).array.tobytes() == values.tobytes()


def test_bf16_rounds_to_the_nearest_even() -> None:
    # 1 + 2^-8 lies half way between two neighbours, 1 + 3 * 2^-8 between the next two.
    values = [1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5]
    assert to_values(from_values("t", "BF16", [4], values)) == [1.0, 1.0, 1 + 2**-6, -2.5]


def test_an_unknown_datatype_names_the_known_ones() -> None:
    with pytest.raises(Invalid) as refused:
        from_raw("t", "FLOAT", [1], b"1234")
    assert refused.value.reason == "BAD_DATATYPE"
    assert "FP32" in refused.value.hint
