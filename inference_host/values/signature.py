"""What goes into a model and what comes out: names, datatypes, shapes with -1 for sizes that may vary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from inference_host.values.tensors import DTYPES, Array, Tensor
from waypost.errors import Invalid


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1 for a size that may vary. No sizes at all: a scalar, or a graph that does not tell (then any shape fits)."""

    def fits(self, shape: Sequence[int]) -> bool:
        if not self.shape:
            return True
        if len(shape) != len(self.shape):
            return False
        for mine, theirs in zip(self.shape, shape, strict=True):  # noqa: SIM110  `all` would make a generator per call
            if mine != theirs and mine != -1:
                return False
        return True

    def agrees(self, other: "TensorSpec") -> bool:
        """Whether some tensor could fit both."""
        if (self.name, self.datatype) != (other.name, other.datatype):
            return False
        if not self.shape or not other.shape:
            return True
        return len(self.shape) == len(other.shape) and all(
            -1 in (mine, theirs) or mine == theirs for mine, theirs in zip(self.shape, other.shape, strict=True)
        )

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def agrees(self, other: "Signature") -> bool:
        """Whether both have the same tensors, in any order, with shapes that can meet."""
        return _agree(self.inputs, other.inputs) and _agree(self.outputs, other.outputs)

    def input(self, name: str) -> TensorSpec | None:
        return next((spec for spec in self.inputs if spec.name == name), None)

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"


def flaw(found: Any) -> str:
    """What keeps somebody's `found` from being a signature, in words; empty: nothing does."""
    if not isinstance(found, Signature):
        return f"signature is {type(found).__name__}"
    sides: dict[str, Any] = {"inputs": found.inputs, "outputs": found.outputs}
    for side, specs in sides.items():
        if not isinstance(specs, tuple):  # (TensorSpec(...)) is none
            return f"{side} of its signature are {type(specs).__name__}, not a tuple"
        for spec in specs:
            if wrong := _spec_flaw(spec):
                return f"{side} of its signature have {wrong}"
    return ""


def _spec_flaw(spec: Any) -> str:
    if not isinstance(spec, TensorSpec):
        return f"a {type(spec).__name__} among them"
    datatype, shape = cast(Any, spec.datatype), cast(Any, spec.shape)
    if not isinstance(datatype, str) or datatype not in DTYPES:
        return f"{spec.name!r} with the datatype {datatype!r}"
    if not isinstance(shape, tuple):
        return f"{spec.name!r} with a shape that is no tuple: {shape!r}"
    if any(type(size) is not int or size < -1 for size in shape):
        return f"{spec.name!r} with the shape {shape!r}"
    return ""


def _agree(mine: Sequence[TensorSpec], theirs: Sequence[TensorSpec]) -> bool:
    others = {spec.name: spec for spec in theirs}
    return len(mine) == len(theirs) and all(spec.name in others and spec.agrees(others[spec.name]) for spec in mine)


def checked_inputs(signature: Signature, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """The arrays of a request by name, all of them there and as the signature says.

    Raises: Invalid(UNKNOWN_INPUT | REPEATED_INPUT | MISSING_INPUT | WRONG_DATATYPE | WRONG_SHAPE).
    """
    if len(tensors) != len(signature.inputs):
        return _checked_one_by_one(signature, tensors)
    arrays: dict[str, Array] = {}
    for tensor, spec in zip(tensors, signature.inputs, strict=True):  # in order, as nearly every client sends them
        name, array = tensor.name, tensor.array
        if name != spec.name or tensor.datatype != spec.datatype or not spec.fits(array.shape):
            return _checked_one_by_one(signature, tensors)
        arrays[name] = array
    return arrays


def _checked_one_by_one(signature: Signature, tensors: Sequence[Tensor]) -> dict[str, Array]:
    """In any order, and with a word about what is wrong."""
    arrays: dict[str, Array] = {}
    for tensor in tensors:
        spec = signature.input(tensor.name)
        if spec is None:
            raise Invalid("UNKNOWN_INPUT", f"the model has no input {tensor.name!r}", _takes(signature))
        if tensor.name in arrays:
            raise Invalid("REPEATED_INPUT", f"input {tensor.name!r} is there twice")
        _check(tensor, spec)
        arrays[tensor.name] = tensor.array
    if len(arrays) != len(signature.inputs):
        missing = next(spec for spec in signature.inputs if spec.name not in arrays)
        raise Invalid("MISSING_INPUT", f"input {missing.name!r} is missing", _takes(signature))
    return arrays


def _check(tensor: Tensor, spec: TensorSpec) -> None:
    if tensor.datatype != spec.datatype:
        raise Invalid(
            "WRONG_DATATYPE", f"input {tensor.name!r} is {spec.datatype}, {tensor.datatype} was sent", tensor=spec.name
        )
    if not spec.fits(tensor.shape):
        raise Invalid(
            "WRONG_SHAPE",
            f"input {tensor.name!r} has shape {list(spec.shape)}, {list(tensor.shape)} was sent",
            "-1 stands for any size" if -1 in spec.shape else "",
            tensor=spec.name,
        )


def checked_outputs(signature: Signature, wanted: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The outputs of a reply in the order asked for; all of them where none is named.

    Raises: Invalid(UNKNOWN_OUTPUT).
    """
    if not wanted:
        return signature.outputs
    known = {spec.name: spec for spec in signature.outputs}
    for name in wanted:
        if name not in known:
            raise Invalid("UNKNOWN_OUTPUT", f"the model has no output {name!r}", f"it has {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def made_up_inputs(signature: Signature, size: int) -> dict[str, Array]:
    """Inputs that fit: 1 for a first size that varies (a batch), `size` for the others.

    Floats are 0.5 and not 0, so that a division does not hide behind a NaN; integers are 0, the one index that every
    table has.
    """
    return {spec.name: _made_up(spec, size) for spec in signature.inputs}


def _made_up(spec: TensorSpec, size: int) -> Array:
    shape = tuple(given if given >= 0 else (1 if axis == 0 else size) for axis, given in enumerate(spec.shape))
    if spec.datatype == "BYTES":
        array = np.empty(shape, dtype=object)
        array.fill(b"sample")
        return array
    half = {"FP16": 0.5, "FP32": 0.5, "FP64": 0.5, "BF16": 0x3F00}
    return np.full(shape, half.get(spec.datatype, 0), DTYPES[spec.datatype])


def _takes(signature: Signature) -> str:
    return f"it takes {', '.join(map(str, signature.inputs))}"
