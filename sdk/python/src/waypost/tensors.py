"""Values in, numpy out: what a model takes and gives, and the bytes of the Open Inference Protocol.

A numpy array (or anything with `__array__`) says exactly what it is: its dtype must be the model's and its shape must
fit; nothing is cast behind the caller's back. Plain values (numbers, strings, nested lists) say nothing about types,
so they are fitted to the model by one rule for each kind of datatype:

    FP16 FP32 FP64 BF16   the nearest value; refused where it would become infinite
    INT* UINT*            whole numbers inside the range (3.0 counts as 3)
    BOOL                  True and False only
    BYTES                 str (as UTF-8) and bytes only

and missing leading dimensions of 1 are added: `[1, 2, 3]` is a batch of one for a model that takes [-1, 3].

On the wire tensors are raw: little-endian and row-major. BF16 has no numpy dtype: float32 arrays stand for it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from waypost.errors import DataLoss, Invalid

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<f4"),
    "BYTES": np.dtype("O"),
}
"""numpy's dtype for each datatype of the protocol."""

_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor
_BF16_MAX = np.float32(3.3895314e38)  # the largest finite BF16


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    datatype: str
    """Name in the Open Inference Protocol: FP32, INT64, BYTES, ..."""
    shape: tuple[int, ...]
    """-1 where a dimension may vary."""

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def arrange(values: object, signature: Signature) -> list[tuple[TensorSpec, Array]]:
    """The model's inputs in its order, each an array ready for `to_raw`.

    values: a mapping by input name; or the value itself, where the model has one input.
    Raises: Invalid(MISSING_INPUT | UNKNOWN_INPUT | WRONG_DATATYPE | WRONG_SHAPE | BAD_VALUE).
    """
    if not isinstance(values, Mapping):
        if len(signature.inputs) != 1:
            raise Invalid(
                "MISSING_INPUT",
                f"the model has {len(signature.inputs)} inputs",
                f"pass a dict with {_names(signature)}",
            )
        values = {signature.inputs[0].name: values}
    _check_names(values, signature)
    return [(spec, fit(values[spec.name], spec)) for spec in signature.inputs]


def fit(value: object, spec: TensorSpec) -> Array:
    """The value as an array of the model's dtype and a shape that the model takes.

    Raises: Invalid(WRONG_DATATYPE | WRONG_SHAPE | BAD_VALUE).
    """
    if spec.datatype not in DTYPES:
        raise Invalid("WRONG_DATATYPE", f"input {spec.name!r} has datatype {spec.datatype!r}, unknown to this SDK")
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        array = _exact(np.asarray(value), spec)
    else:
        array = _with_leading_ones(_cast(value, spec), len(spec.shape))
    if not _shape_fits(array.shape, spec.shape):
        raise Invalid("WRONG_SHAPE", f"input {spec.name!r} is {list(array.shape)}, the model takes {list(spec.shape)}")
    return array


def to_raw(array: Array, datatype: str) -> bytes:
    """Little-endian, row-major bytes of an array that `fit` returned."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(element)) + element for element in map(_as_bytes, array.flat))
    if datatype == "BF16":
        return _to_bf16(array).tobytes()
    return array.tobytes()


def from_raw(raw: bytes, datatype: str, shape: Sequence[int]) -> Array:
    """A read-only array over `raw`; for BYTES an object array of bytes.

    Raises: DataLoss(BAD_TENSOR) where the bytes do not make such a tensor.
    """
    try:
        if datatype == "BYTES":
            return _split_bytes(raw).reshape(shape)
        if datatype == "BF16":
            return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    except (ValueError, KeyError, struct.error) as error:
        raise DataLoss("BAD_TENSOR", f"{len(raw)} bytes do not make a tensor {datatype} {list(shape)}") from error


def _names(signature: Signature) -> str:
    return ", ".join(spec.name for spec in signature.inputs)


def _check_names(values: Mapping[str, object], signature: Signature) -> None:
    known = {spec.name for spec in signature.inputs}
    if missing := sorted(known - values.keys()):
        raise Invalid("MISSING_INPUT", f"no value for input {', '.join(missing)}", f"inputs: {_names(signature)}")
    if unknown := sorted(values.keys() - known):
        raise Invalid("UNKNOWN_INPUT", f"the model has no input {', '.join(unknown)}", f"inputs: {_names(signature)}")


def _exact(array: Array, spec: TensorSpec) -> Array:
    if spec.datatype == "BYTES" and array.dtype.kind in "SUO":
        return _checked_bytes(array.astype(object), spec)
    wanted = DTYPES[spec.datatype]
    if array.dtype.newbyteorder("=") != wanted.newbyteorder("="):
        raise Invalid(
            "WRONG_DATATYPE",
            f"input {spec.name!r} is an array of {array.dtype}, the model takes {spec.datatype} (numpy {wanted.name})",
            f"convert it yourself: .astype(np.{wanted.name})" if wanted.kind != "O" else "pass str or bytes",
        )
    return array.astype(wanted, copy=False)


def _cast(value: object, spec: TensorSpec) -> Array:
    """Plain values, by the rules at the top."""
    try:
        # Strings go in as objects: numpy's own bytes type would cut trailing zero bytes off.
        plain: Array = np.array(value, dtype=object) if spec.datatype == "BYTES" else np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid("BAD_VALUE", f"input {spec.name!r} is not a regular tensor: {error}") from error
    wanted = DTYPES[spec.datatype]
    if wanted.kind == "O":
        return _checked_bytes(plain, spec)
    if wanted.kind == "b":
        accepted = plain.dtype.kind == "b"
    elif plain.dtype.kind not in "iuf":
        accepted = plain.size == 0
    elif wanted.kind == "f":
        accepted = _stays_finite(plain, spec.datatype)
    else:
        accepted = _whole_and_inside(plain, np.iinfo(wanted))
    if not accepted:
        raise Invalid("BAD_VALUE", f"input {spec.name!r} has values that {spec.datatype} cannot hold: {_shown(value)}")
    with np.errstate(invalid="ignore"):
        return plain.astype(wanted)


def _stays_finite(plain: Array, datatype: str) -> bool:
    limit = float(_BF16_MAX) if datatype == "BF16" else float(np.finfo(DTYPES[datatype]).max)
    finite = plain[np.isfinite(plain)]
    return bool(finite.size == 0 or np.max(np.abs(finite.astype("f8"))) <= limit)


def _whole_and_inside(plain: Array, limits: "np.iinfo[Any]") -> bool:
    if plain.size == 0:
        return True
    if plain.dtype.kind == "f":
        # float(limits.max) rounds up for 64 bits, so its own value is outside.
        return bool(np.all((plain == np.floor(plain)) & (plain >= limits.min) & (plain < float(limits.max) + 1)))
    return int(plain.min()) >= limits.min and int(plain.max()) <= limits.max


def _checked_bytes(array: Array, spec: TensorSpec) -> Array:
    for element in array.flat:
        if not isinstance(element, str | bytes):
            raise Invalid("BAD_VALUE", f"input {spec.name!r} takes BYTES: str or bytes, not {type(element).__name__}")
    return array


def _as_bytes(element: str | bytes) -> bytes:
    return element.encode() if isinstance(element, str) else element


def _with_leading_ones(array: Array, rank: int) -> Array:
    return array.reshape((1,) * max(0, rank - array.ndim) + array.shape)


def _shape_fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, s) for s, w in zip(shape, wanted, strict=True))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _to_bf16(array: Array) -> Array:
    """The upper half of each float32, rounded to nearest even as hardware does."""
    bits = np.ascontiguousarray(array).view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = np.where(np.isnan(array), bits | np.uint32(0x400000), rounded)
    return (rounded >> np.uint32(16)).astype("<u2")


def _split_bytes(raw: bytes) -> Array:
    elements: list[bytes] = []
    offset = 0
    while offset < len(raw):
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset += _LENGTH.size + length
        if offset > len(raw):
            raise ValueError("the last element is cut off")
        elements.append(raw[offset - length : offset])
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
