"""A data plane around a function, for tests: no graph, no files, no transport."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference_host.model.loaded import Loaded
from inference_host.model.manifest import Package
from inference_host.model.template import Arrays, Steps
from inference_host.serving.batching import AT_ONCE, Batching
from inference_host.serving.calibration import Together
from inference_host.serving.dataplane import DataPlane, Place
from inference_host.serving.execution import Execution
from inference_host.serving.lifecycle import Lifecycle
from inference_host.serving.loader import Warm
from inference_host.serving.served import Served
from inference_host.values.calls import Answer, Call, Origin, SequenceLimits
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import Tensor
from tests.sim.virtual import VirtualLoop
from waypost.errors import MeshError

FULL_NAME = "projects/uav/applications/path/models/forecast/versions/7"
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
PLACE = Place("projects/uav/applications/path/positions/tower-7", "uid-1", "r-abc123", "tower-7", 3)
BY_HAND = Place()
LIMITS = SequenceLimits(100, 60.0)
READY = Lifecycle().warming().ready()


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A model that answers when it is let: holds its thread until then."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.calls = 0

    def __call__(self, inputs: Arrays) -> Arrays:
        self.calls += 1
        self.entered.release()
        assert self.open.wait(10)
        return double(inputs)


class Waiting:
    """An asynchronous model that answers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.calls = self.cancelled = 0

    async def __call__(self, inputs: Arrays) -> Arrays:
        self.calls += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return double(inputs)

    def steps(self) -> Steps:
        """All three coroutines: none is done by a thread, for which virtual time would not wait."""
        return Steps(unchanged_later, self.__call__, unchanged_later)


class Recorded:
    """A model that remembers with how many rows it was called."""

    def __init__(self, predict: Callable[[Arrays], object] | None = None) -> None:
        self.rows: list[int] = []
        self._predict = predict or double

    def __call__(self, inputs: Arrays) -> object:
        self.rows.append(len(inputs["x"]))
        return self._predict(inputs)


class Heard:
    """What a face's callbacks were told, by id of the call."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Answer | MeshError]] = {}

    def done(self, name: str) -> Callable[[Answer | MeshError], None]:
        self.outcomes[name] = []
        return self.outcomes[name].append

    def values(self, name: str) -> list[list[float]]:
        (outcome,) = self.outcomes[name]
        assert isinstance(outcome, Answer), outcome
        values: list[list[float]] = outcome.outputs[0].array.tolist()
        return values

    def error(self, name: str) -> MeshError:
        (outcome,) = self.outcomes[name]
        assert isinstance(outcome, MeshError), outcome
        return outcome


def unchanged(value: Any) -> Any:
    return value


async def unchanged_later(value: Any) -> Any:
    return value


def double(inputs: Arrays) -> Arrays:
    return {"y": inputs["x"] * 2}


def served(
    predict: Callable[..., object] = double,
    *,
    inline: bool = True,
    life: Lifecycle = READY,
    rows_max: int = 1,
    run_s: float = 0.0,
    name: str = "forecast",
    signature: Signature = SIGNATURE,
    start: Callable[[], object] | None = None,
    limits: SequenceLimits = LIMITS,
    hung_after_s: float = 60.0,
) -> Served:
    """rows_max: above 1 as if calls had been found to go together. run_s: as if measured. start: of a model that keeps
    state, whose `predict` takes that as well; it runs on threads, or in tasks.
    """
    package = Package(Path("/nowhere"), name, "7", FULL_NAME, "sha256:ff", None, "template:Fake")
    plain: Any = unchanged_later if inspect.iscoroutinefunction(predict) else unchanged
    steps = predict.steps() if isinstance(predict, Waiting) else Steps(plain, predict, plain, start)
    sequences = limits if start is not None else None
    loaded = Loaded(package, signature, steps, sequences=sequences, hung_after_s=hung_after_s)
    together = Together(True, rows_max, [(2, run_s)]) if rows_max > 1 else Together()
    warm = Warm(loaded, run_s, [{"x": x().array}], 100 if inline and start is None else 0, together)
    return Served(package, life, warm if life != Lifecycle() else None)


def plane(
    model: Served | Sequence[Served],
    execution: Execution,
    clock: Callable[[], float],
    place: Place = PLACE,
    batching: Batching = AT_ONCE,
) -> DataPlane:
    models = [model] if isinstance(model, Served) else model
    return DataPlane(models, place, execution, clock, batching)


def call(
    model: str = "forecast",
    version: str = "",
    *,
    value: float = 1.0,
    rows: int = 1,
    deadline: float | None = None,
    parameters: dict[str, object] | None = None,
) -> Call:
    return Call(model, version, [x(value, rows)], "id-1", deadline=deadline, parameters=parameters)


def answer(*outputs: Tensor, model: str = "m", version: str = "1", id_: str = "id-1") -> Answer:
    specs = tuple(TensorSpec(tensor.name, tensor.datatype, tensor.shape) for tensor in outputs)
    return Answer(Origin(model, version), id_, specs, [tensor.array for tensor in outputs], (0, 0, 0, 0))


def x(value: float = 1.0, rows: int = 1) -> Tensor:
    return Tensor("x", "FP32", np.full((rows, 2), value, np.float32))


def run_virtual(scenario: Callable[[Execution], Awaitable[Any]], *, threads: int = 1) -> None:
    """On virtual time: it passes only while everybody waits, so a deadline costs nothing. Not for models on threads."""

    async def main() -> None:
        async with Execution(threads) as execution:
            await scenario(execution)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
