"""A data plane around a function, for tests: no graph, no files, no transport."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference_host.calls import Call
from inference_host.dataplane import DataPlane, Place, Served
from inference_host.execution import Execution
from inference_host.lifecycle import Lifecycle
from inference_host.loader import Loaded, Warm
from inference_host.manifest import Package
from inference_host.signature import Signature, TensorSpec
from inference_host.template import Arrays, Steps
from inference_host.tensors import Tensor

FULL_NAME = "projects/uav/applications/path/models/forecast/versions/7"
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))
PLACE = Place("projects/uav/applications/path/positions/tower-7", "uid-1", "r-abc123", "tower-7", 3)
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


def double(inputs: Arrays) -> Arrays:
    return {"y": inputs["x"] * 2}


def served(predict: Callable[[Arrays], object] = double, *, inline: bool = True, life: Lifecycle = READY) -> Served:
    package = Package(Path("/nowhere"), "forecast", "7", FULL_NAME, "sha256:ff", None, "template:Fake")
    steps = Steps(lambda inputs: inputs, predict, lambda predicted: predicted)
    warm = Warm(Loaded(package, SIGNATURE, steps), 0.0, [], 100 if inline else 0)
    return Served(package, life, warm if life != Lifecycle() else None)


def plane(model: Served, execution: Execution, clock: Callable[[], float], place: Place = PLACE) -> DataPlane:
    return DataPlane([model], place, execution, clock)


def call(model: str = "forecast", version: str = "", *, value: float = 1.0, deadline: float | None = None) -> Call:
    return Call(model, version, [x(value)], "id-1", deadline=deadline)


def x(value: float = 1.0) -> Tensor:
    return Tensor("x", "FP32", np.full((1, 2), value, np.float32))
