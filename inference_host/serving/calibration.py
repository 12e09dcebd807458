"""How long a model takes, and whether calls may go through it together. Measured at load, on a thread: it blocks.

That the first size of every tensor varies does not make it a batch: it may be time, or a graph may compare its rows. So
before calls are ever put together, different rows have gone through the graph alone and together, and came out the
same. And it must pay: a network that fills a core by itself gains nothing from a batch and loses memory to it.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_host.model.loaded import Loaded
from inference_host.model.template import Arrays
from inference_host.serving.batching import BATCH_BYTES_MAX
from inference_host.values.signature import Signature
from inference_host.values.tensors import Array
from waypost.errors import MeshError

RUNS = 5  # the fastest is what the model takes; the others met somebody else on the CPU
BUDGET_S = 1.0  # for those runs: a slow model is known to be slow after the first
BATCH_ROWS_MAX = 64  # a tiny model gains its last per cent before that
BATCH_BUDGET_S = 0.5  # for all batches together: a swap waits for it
GAIN_MIN = 0.15  # of the time per row: less does not pay for copying rows together and apart
GAIN_STEP_MIN = 0.05  # of a batch against the one of half its size; two that gain less are the end of the search
GAIN_LEFT = 0.1  # the smallest batch that is as fast per row as the best one, but for so much, is large enough
TOLERANCE = {"FP16": 1e-2, "FP32": 1e-4, "FP64": 1e-6}  # relative; kernels for several rows add in another order


@dataclass(frozen=True, slots=True)
class Together:
    """What was found out about calls that go through a model together."""

    apart: bool = False
    """Whether rows come out the same, whatever stands beside them."""
    rows_max: int = 1
    """As many rows as pay; 1: none."""
    runs: Sequence[tuple[int, float]] = ()
    """Elements and seconds of what was measured."""


NEVER_TOGETHER = Together()


def fastest(function: Callable[[Any], Any], argument: Any) -> float:
    """Seconds of the fastest of some runs, on this very thread: the hand-over is what running on the loop saves."""
    best, began = math.inf, time.perf_counter()
    for _ in range(RUNS):
        start = time.perf_counter()
        function(argument)
        end = time.perf_counter()
        best = min(best, end - start)
        if end - began > BUDGET_S:
            break
    return best


def together(loaded: Loaded, sample: Arrays) -> Together:
    """sample: one that the model takes. Never raises: what fails here is not batched."""
    if not loaded.batches or not has_rows(loaded.signature) or min(len(array) for array in sample.values()) == 0:
        return NEVER_TOGETHER
    row = {name: array[:1] for name, array in sample.items()}
    try:
        if not _comes_apart(loaded, row):
            return NEVER_TOGETHER
        times = list(_times(loaded, row))
    except (MeshError, MemoryError):
        return NEVER_TOGETHER
    return Together(True, _rows_that_pay(times), [(rows * elements(row), run_s) for rows, run_s in times])


def has_rows(signature: Signature) -> bool:
    """Whether the first size of every input and output varies."""
    specs = (*signature.inputs, *signature.outputs)
    return bool(signature.inputs) and all(spec.shape[:1] == (-1,) for spec in specs)


def elements(inputs: Arrays) -> int:
    return sum(array.size for array in inputs.values())


def _comes_apart(loaded: Loaded, row: Arrays) -> bool:
    """Whether two different rows, alone, give what they give beside each other."""
    other = {name: _varied(array) for name, array in row.items()}
    alone = [loaded.answer(row), loaded.answer(other)]
    beside = loaded.answer({name: np.concatenate([row[name], other[name], row[name]]) for name in row})
    for spec in loaded.signature.outputs:
        expected = np.concatenate([alone[0][spec.name], alone[1][spec.name], alone[0][spec.name]])
        if not _close(beside[spec.name], expected, TOLERANCE.get(spec.datatype, 0.0)):
            return False
    return True


def _varied(array: Array) -> Array:
    """Another value of each element, within what a model that took the first can be expected to take."""
    if array.dtype.kind == "f":
        halved: Array = array * array.dtype.type(0.5)
        return halved
    if array.dtype.kind == "b":
        return ~array
    if array.dtype.kind in "iu":  # an index into some table, maybe: the one before it, or 1
        return np.where(array > 0, array - 1, 1).astype(array.dtype)
    return array.copy()


def _close(found: Array, expected: Array, tolerance: float) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not tolerance:
        return np.array_equal(found, expected)
    scale = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
    return np.allclose(found, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _times(loaded: Loaded, row: Arrays) -> Iterator[tuple[int, float]]:
    """Rows and seconds of larger and larger batches, as long as they get faster and time and memory allow.

    Not further: onnxruntime keeps the memory that its largest run took.
    """
    began = time.perf_counter()
    row_bytes = sum(array.nbytes for array in row.values())
    rows, best_s, slower = 1, math.inf, 0
    while slower < 2 and rows <= BATCH_ROWS_MAX and (rows == 1 or rows * row_bytes <= BATCH_BYTES_MAX):
        run_s = fastest(loaded.answer, {name: np.concatenate([array] * rows) for name, array in row.items()})
        yield rows, run_s
        slower = 0 if run_s / rows < best_s * (1 - GAIN_STEP_MIN) else slower + 1
        best_s = min(best_s, run_s / rows)
        rows *= 2
        if time.perf_counter() - began + 2 * RUNS * run_s > BATCH_BUDGET_S:
            return


def _rows_that_pay(times: Sequence[tuple[int, float]]) -> int:
    per_row = [(run_s / rows, rows) for rows, run_s in times]
    best_s, _ = min(per_row)
    if best_s > per_row[0][0] * (1 - GAIN_MIN):
        return 1
    return next(rows for row_s, rows in per_row if row_s <= best_s * (1 + GAIN_LEFT))
