"""What an answer is held against, and what is said where it differs. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from inference_host.values.tensors import Array, Tensor, to_values

FLOATS = ("FP16", "BF16", "FP32", "FP64")


def difference(found: Sequence[Tensor], expected: Sequence[Tensor], *, rtol: float, atol: float) -> str:
    """In words; empty where every expected output is there and the same. Floats may differ by atol + rtol |expected|.

    NaN is expected to be NaN.
    """
    by_name: Mapping[str, Tensor] = {tensor.name: tensor for tensor in found}
    for wanted in expected:
        tensor = by_name.get(wanted.name)
        if tensor is None:
            return f"output {wanted.name!r} is missing: there is {', '.join(by_name) or 'none'}"
        if said := _difference(tensor, wanted, rtol, atol):
            return said
    return ""


def _difference(found: Tensor, expected: Tensor, rtol: float, atol: float) -> str:
    if found.datatype != expected.datatype:
        return f"{found.name} is {found.datatype}, expected {expected.datatype}"
    if found.shape != expected.shape:
        return f"{found.name} has shape {list(found.shape)}, expected {list(expected.shape)}"
    ours, theirs = _comparable(found), _comparable(expected)
    if found.datatype in FLOATS:
        same = np.isclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)
    else:
        same = np.asarray(ours == theirs, dtype=bool)
    if same.all():
        return ""
    at = tuple(int(index) for index in np.argwhere(~same)[0])
    return _shown(found.name, at, ours[at], theirs[at], int((~same).sum()), same.size)


def _shown(name: str, at: tuple[int, ...], found: object, expected: object, wrong: int, of: int) -> str:
    place = f"[{', '.join(map(str, at))}]" if at else ""
    others = f" ({wrong} of {of} values differ)" if of > 1 else ""
    return f"{name}{place} is {_value(found)}, expected {_value(expected)}{others}"


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)


def _comparable(tensor: Tensor) -> Array:
    """BF16 is carried as its bits: compared are the numbers."""
    if tensor.datatype != "BF16":
        return tensor.array
    return np.array(to_values(tensor), np.float32).reshape(tensor.shape)


def rows_of(tensors: Sequence[Tensor], start: int, end: int) -> list[Tensor]:
    return [Tensor(tensor.name, tensor.datatype, tensor.array[start:end]) for tensor in tensors]


def side_by_side(requests: Sequence[Sequence[Tensor]]) -> list[Tensor] | None:
    """One request with the rows of all, in their order; None where their other sizes differ."""
    shapes = {tuple(tensor.shape[1:] for tensor in request) for request in requests}
    if len(shapes) != 1:
        return None
    return [
        Tensor(column[0].name, column[0].datatype, np.concatenate([tensor.array for tensor in column]))
        for column in zip(*requests, strict=True)
    ]
