"""Tensors, and the three forms in which their values travel.

The Open Inference Protocol knows thirteen datatypes (BF16 with them fourteen). Inside the host a tensor is a numpy
array of the datatype's own dtype, with two conventions: BYTES is an array of `bytes` objects, and BF16, which numpy
does not have, is its sixteen bits in a uint16. Outside it is one of

    raw       little-endian, row-major; BYTES as (uint32 length, bytes) each     gRPC raw_*_contents, REST binary data
    values    plain Python values, flat or nested                                REST JSON, xapp.v1, typed gRPC contents

Each form has one function in and one out, and `out(in(x)) == x`. Whatever does not fit ends in `Invalid` and names the
tensor: the shape that the bytes cannot have, the number that the datatype cannot hold. Nothing is rounded to fit but
floats to a shorter float. Among values None is NaN, which JSON cannot write otherwise; no other datatype has it.

Nothing is copied that need not be. Arrays made from raw bytes are read-only views on them, unless they begin at an
address that is no multiple of their element's size: compiled code may assume that it is (onnxruntime does not check),
so those are copied. Large arrays become raw bytes as views on their memory.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from waypost.errors import Invalid

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = bytes | memoryview

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""numpy's dtype for each datatype of the protocol."""
_BY_CONVENTION = ("BYTES", "BF16")
"""Whose arrays say less by their dtype than others do."""

RANK_MAX = 32  # numpy 1 can have no more; models have four or five
VIEW_BYTES_MIN = 16 << 10  # below it a copy is cheaper than all that happens to a view on its way to the socket
EXACT_FLOAT_MAX = 2.0**53  # above it a float cannot tell neighbouring integers apart
PACKED_MAX = 4096  # values; for more, numpy is as fast
_LENGTH = struct.Struct("<I")
_CODES = {"FP32": "f", "FP64": "d"}
_FLOATS = {float, int}
_WITH_NAN = ("FP16", "BF16", "FP32", "FP64")
_SPOKEN = {NoneType: "null", bool: "a boolean", int: "an integer", float: "a float", str: "a string"}


@dataclass(slots=True, eq=False)
class Tensor:
    """A named array. Its shape is the array's. Not frozen: making one would take four times as long, on every call."""

    name: str
    datatype: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


def from_raw(name: str, datatype: str, shape: Sequence[int], data: Buffer) -> Tensor:
    """A tensor from its raw bytes, without copying them where their alignment allows it.

    Raises: Invalid(BAD_DATATYPE | BAD_SHAPE | BAD_DATA).
    """
    dtype = dtype_of(name, datatype)
    count = element_count(name, shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, _reshape(name, _strings_from_raw(name, count, data), shape))
    if len(data) != count * dtype.itemsize:
        expected = f"{datatype}{list(shape)} takes {count * dtype.itemsize} bytes"
        raise _bad_data(name, f"{expected}, {len(data)} were sent")
    if datatype == "BOOL":  # any other byte than 0 and 1 is true as well, but no numpy bool
        array: Array = np.frombuffer(data, np.uint8) != 0
    else:
        array = np.frombuffer(data, dtype)
        if not array.flags.aligned:  # a part of a longer body may begin anywhere
            array = array.copy()
    return Tensor(name, datatype, _reshape(name, array, shape))


def to_raw(tensor: Tensor) -> Buffer:
    """The raw bytes of a tensor whose array has the dtype of its datatype; where it is large, a view on its memory."""
    if tensor.datatype == "BYTES":
        return b"".join(part for value in tensor.array.ravel() for part in (_LENGTH.pack(len(value)), value))
    return memory(tensor.array)


def memory(array: Array) -> Buffer:
    """The bytes of an array of numbers; where it is large, a view on its memory."""
    if array.nbytes < VIEW_BYTES_MIN or not array.flags.c_contiguous:
        return array.tobytes()
    return array.data.cast("B").toreadonly()


def from_values(name: str, datatype: str, shape: Sequence[int], values: Any) -> Tensor:
    """A tensor from plain values, flat or nested as `shape` says. BYTES takes `str` (as UTF-8) and `bytes`; where there
    is a NaN, None is one.

    Raises: Invalid(BAD_DATATYPE | BAD_SHAPE | BAD_DATA); BAD_DATA where a value is not of the datatype or beyond its
    range, so that no number arrives as another one.
    """
    dtype = dtype_of(name, datatype)
    count = element_count(name, shape)
    packed = _packed(datatype, count, values)
    if packed is not None:
        return Tensor(name, datatype, np.ndarray(tuple(shape), dtype, packed))
    try:
        # Strings have no fixed width here, and numpy would drop their trailing NULs: objects, then.
        found: Array = np.array(values, dtype=object if datatype == "BYTES" else None)
    except (ValueError, OverflowError) as error:
        raise _bad_data(name, f"the values are not all of one depth: {error}") from error
    if found.size != count or (found.ndim > 1 and found.shape != tuple(shape)):
        nested = f"nested as {list(found.shape)}" if found.ndim > 1 else f"{found.size} in number"
        raise _bad_data(name, f"shape {list(shape)} takes {count} values, the values are {nested}")
    if found.dtype != dtype or datatype in _BY_CONVENTION:
        found = _converted(name, datatype, dtype, found, values)
    return Tensor(name, datatype, _reshape(name, found, shape))


def to_values(tensor: Tensor) -> list[Any]:
    """The values, flat and row-major: bool, int, float, or `bytes` for BYTES."""
    array = tensor.array.ravel()
    if tensor.datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    values: list[Any] = array.tolist()
    return values


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """numpy's dtype of the tensor `name`. Raises: Invalid(BAD_DATATYPE)."""
    try:
        return DTYPES[datatype]
    except KeyError:
        raise Invalid(
            "BAD_DATATYPE", f"tensor {name!r}: no datatype is called {datatype!r}", f"use one of {', '.join(DTYPES)}"
        ) from None


def element_count(name: str, shape: Sequence[int]) -> int:
    """How many elements `shape` has. Raises: Invalid(BAD_SHAPE)."""
    if len(shape) > RANK_MAX or (shape and min(shape) < 0):
        raise Invalid(
            "BAD_SHAPE",
            f"tensor {name!r}: {list(shape)[: RANK_MAX + 1]} is not the shape of any tensor",
            f"send at most {RANK_MAX} dimensions, each 0 or more; the sizes of a request are never -1",
        )
    return math.prod(shape)


def _strings_from_raw(name: str, count: int, data: Buffer) -> Array:
    """Counts first, so that a length field cannot make us allocate anything."""
    if count * _LENGTH.size > len(data):
        raise _bad_data(name, f"{count} BYTES elements take at least {count * _LENGTH.size} bytes, not {len(data)}")
    array = np.empty(count, dtype=object)
    offset = 0
    for index in range(count):
        if offset + _LENGTH.size > len(data):
            raise _bad_data(name, f"the bytes end within the length of element {index}")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset += _LENGTH.size
        if offset + length > len(data):
            raise _bad_data(name, f"element {index} says {length} bytes, {len(data) - offset} are left")
        array[index] = bytes(data[offset : offset + length])
        offset += length
    if offset != len(data):
        raise _bad_data(name, f"{len(data) - offset} bytes follow the last of {count} elements")
    return array


def _packed(datatype: str, count: int, values: Any) -> bytes | None:
    """The memory of a flat list of `count` floats, in a fifth of the time that numpy takes; None for all else."""
    code = _CODES.get(datatype)
    if code is None or type(values) is not list or not 0 < len(values) == count <= PACKED_MAX:
        return None
    if not set(map(type, values)) <= _FLOATS or type(values[0]) is not float:
        return None
    try:
        return struct.pack(f"<{count}{code}", *values)
    except OverflowError:  # it does not fit, which is told elsewhere
        return None


def _converted(name: str, datatype: str, dtype: np.dtype[Any], found: Array, values: Any) -> Array:
    if datatype == "BYTES":
        return _encoded(name, found)
    if found.size == 0:
        return found.astype(dtype)
    if found.dtype.kind == "O":
        found = _numbers(name, datatype, found)
    if datatype == "BOOL":
        if found.dtype.kind != "b":
            raise _wrong_kind(name, datatype, found)
        return found
    if found.dtype.kind not in "iufO":
        raise _wrong_kind(name, datatype, found)
    if datatype in _WITH_NAN:
        return _floats(name, datatype, found)
    return _integers(name, datatype, dtype, found, values)


def _numbers(name: str, datatype: str, found: Array) -> Array:
    """What numpy has no dtype for: values with a None among them, and integers beyond 64 bits. None becomes NaN."""
    with_nan = datatype in _WITH_NAN
    takes = {*_FLOATS, NoneType} if with_nan else {bool if datatype == "BOOL" else int}
    for index, value in enumerate(found.flat):
        if type(value) not in takes:
            raise _bad_data(name, f"element {index} is {_spoken(value)}, which {datatype} does not take")
    try:
        return found.astype(np.float64) if with_nan else found
    except OverflowError:
        raise _bad_data(name, f"it has an integer beyond the range of {datatype}") from None


def _spoken(value: object) -> str:
    return _SPOKEN.get(type(value), "no single value")


def _encoded(name: str, found: Array) -> Array:
    array = np.empty(found.size, dtype=object)
    for index, value in enumerate(found.flat):
        if not isinstance(value, str | bytes):
            raise _bad_data(name, f"element {index} is {_spoken(value)}, BYTES takes strings")
        try:
            array[index] = value.encode() if isinstance(value, str) else value
        except UnicodeEncodeError as error:
            raise _bad_data(name, f"element {index} is no UTF-8 text: {error.reason}") from error
    return array


def _floats(name: str, datatype: str, found: Array) -> Array:
    """Rounds to the datatype; a finite number that would become infinite is refused."""
    try:
        with np.errstate(over="raise"):
            array: Array = found.astype(np.float32 if datatype == "BF16" else DTYPES[datatype])
        return _to_bf16(array) if datatype == "BF16" else array
    except FloatingPointError:
        largest = np.abs(found[np.isfinite(found)]).max()
        raise _bad_data(name, f"{largest} is beyond the range of {datatype}") from None


def _to_bf16(array: Array) -> Array:
    """The upper half of each FP32, rounded to nearest even; a NaN stays one. Raises: FloatingPointError."""
    bits = array.view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    if np.any(((rounded & 0x7FFF) == 0x7F80) & np.isfinite(array)):  # the bits of an infinity
        raise FloatingPointError
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(DTYPES["BF16"])


def _integers(name: str, datatype: str, dtype: np.dtype[Any], found: Array, values: Any) -> Array:
    """Integers, also where they were written as floats, as long as that is exact."""
    if found.dtype.kind == "f" and not np.all(np.abs(found) <= EXACT_FLOAT_MAX):
        # numpy reads [1, 2**63] as floats: signed and unsigned have no other common type.
        found = np.array(values, dtype=object)
        if not all(isinstance(value, int) for value in found.flat):
            raise _bad_data(name, f"{datatype} takes integers; floats are exact up to 2^53 only")
    elif found.dtype.kind == "f" and not np.array_equal(found, np.rint(found)):
        raise _bad_data(name, f"{datatype} takes integers, {found[found != np.rint(found)].flat[0]} is none")
    limits = np.iinfo(dtype)
    lowest, highest = int(found.min()), int(found.max())
    if lowest < limits.min or highest > limits.max:
        beyond = lowest if lowest < limits.min else highest
        raise _bad_data(name, f"{beyond} is beyond the range of {datatype}, {limits.min} to {limits.max}")
    return found.astype(dtype)


def _reshape(name: str, array: Array, shape: Sequence[int]) -> Array:
    try:
        return array.reshape(tuple(shape))
    except (ValueError, OverflowError) as error:  # no elements, and other sizes beyond all memory
        raise Invalid("BAD_SHAPE", f"tensor {name!r}: {list(shape)} is beyond what can be addressed") from error


def _wrong_kind(name: str, datatype: str, found: Array) -> Invalid:
    kinds = {"b": "booleans", "U": "strings"}
    return _bad_data(name, f"{datatype} does not take {kinds.get(found.dtype.kind, 'numbers')}")


def _bad_data(name: str, why: str) -> Invalid:
    return Invalid("BAD_DATA", f"tensor {name!r}: {why}", tensor=name)
