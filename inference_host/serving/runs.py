"""One run of a model over the calls of a batch: their inputs put together, their answers taken apart.

**A batch that fails** is run again call by call, so that one bad request does not hurt the others. Only what may be
asked twice is ever batched: graphs, and templates that say so.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from inference_host.model.loaded import Loaded, Threads
from inference_host.model.template import Arrays
from inference_host.serving.backlog import Job
from inference_host.serving.batching import Batch
from inference_host.values.calls import Done, Place, as_mesh_error
from inference_host.values.signature import TensorSpec
from inference_host.values.tensors import Array
from waypost.errors import Cancelled, Exhausted, Internal, MeshError

Given: TypeAlias = Sequence[Array]
"""What a call gets: an array for each output that it wanted."""


class Kind(Protocol):
    """What calls of one form have in common (plan.Plan)."""

    rows: int
    size: int
    group: Hashable
    wanted: tuple[TensorSpec, ...]


class Ask(Job):
    """A call on its way."""

    told = False
    """Whether `done` has heard, or will not hear any more."""
    place: Place | None = None
    """Which step of which sequence it is, where the model keeps state."""

    def __init__(
        self, kind: Kind, bytes_: int, deadline: float, id_: str, inputs: Arrays, done: Done, arrived: float
    ) -> None:
        self.rows = kind.rows  # as Job does: calling that would add a tenth to what submitting a call takes
        self.size = kind.size
        self.group = kind.group
        self.wanted = kind.wanted
        self.bytes = bytes_
        self.deadline = deadline
        self.id = id_
        self.inputs = inputs
        self.done = done
        self.arrived = arrived


class Run:
    """The `Work` of a lane (execution.py)."""

    __slots__ = ("_clock", "_loaded", "abandoned", "answers", "asks", "batch", "clean", "ended", "prepared", "taken")

    def __init__(self, batch: Batch[Ask], loaded: Loaded, clock: Callable[[], float], taken: float) -> None:
        self.batch = batch
        self.asks = batch.jobs
        self.taken = self.prepared = self.ended = taken
        """When its calls left the queue, their inputs were put together, the model had answered."""
        self.answers: Sequence[Given | MeshError] = ()
        """One for each call; none while it has not ended."""
        self.clean = False
        """Whether it took what such a run takes."""
        self.abandoned = False
        """Whether its runner knows that nobody waits for it."""
        self._loaded = loaded
        self._clock = clock

    @property
    def title(self) -> Mapping[str, str]:
        package = self._loaded.package
        requests = ", ".join([ask.id for ask in self.asks])
        return {"model": package.full_name, "version": package.version, "request": requests}

    def parts_s(self, told: float) -> tuple[float, float, float]:
        """What of the seconds until `told` went into putting its inputs together, the model, and its answers.

        Of a run that was given up, too, whose thread may write down its times this very moment.
        """
        prepared, ended = min(self.prepared, told), min(self.ended, told)
        if not self.answers or ended < prepared:
            ended = told
        return prepared - self.taken, ended - prepared, told - ended

    def perform(self) -> None:
        try:
            inputs = together(self.asks)
            self.prepared = self._clock()
            outputs = self._loaded.answer(inputs, self.asks[0].id if len(self.asks) == 1 else "")
            self.ended = self._clock()
            self.answers = apart(outputs, self.asks, self.batch.rows)
            self.clean = True
        except Exception as error:  # the life of a run ends here; its thread must come back
            self.answers = self._one_by_one(error)
            self.ended = self._clock()

    async def perform_on_loop(self, threads: Threads) -> None:
        """Coroutines are never batched."""
        (ask,) = self.asks
        try:
            self.answers = [_given(await self._loaded.answer_on_loop(ask.inputs, threads, ask.id), ask)]
        except Exception as error:  # the life of a run ends here
            self.answers = [_as_told(error)]
        self.ended = self._clock()

    def _one_by_one(self, error: Exception) -> Sequence[Given | MeshError]:
        if len(self.asks) == 1:
            return [_as_told(error)]
        return [self._alone(ask) for ask in self.asks]

    def _alone(self, ask: Ask) -> Given | MeshError:
        if ask.told:
            return Cancelled("CANCELLED", "nobody waits for it any more")
        try:
            return _given(self._loaded.answer(ask.inputs, ask.id), ask)
        except Exception as error:  # the life of a call ends here
            return _as_told(error)


def together(asks: Sequence[Ask]) -> Arrays:
    """The inputs of a batch: each call's rows after those of the one before."""
    inputs = asks[0].inputs
    if len(asks) == 1:
        return inputs
    return {name: np.concatenate([ask.inputs[name] for ask in asks]) for name in inputs}


def apart(outputs: Arrays, asks: Sequence[Ask], rows: int) -> Sequence[Given]:
    """What each call of a batch wanted of its outputs: its rows, as views.

    Raises: Internal(MODEL_FAILED) where the outputs have not the batch's `rows`.
    """
    if len(asks) == 1:
        return [_given(outputs, asks[0])]
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise Internal("MODEL_FAILED", f"output {name!r} has shape {list(array.shape)} for {rows} rows")
    answers: list[Given] = []
    begin = 0
    only = array if len(outputs) == 1 else None
    for ask in asks:
        end = begin + ask.rows
        if only is not None and len(ask.wanted) == 1:
            answers.append((only[begin:end],))
        else:
            answers.append([outputs[spec.name][begin:end] for spec in ask.wanted])
        begin = end
    return answers


def _given(outputs: Arrays, ask: Ask) -> Given:
    return [outputs[spec.name] for spec in ask.wanted]


def _as_told(error: Exception) -> MeshError:
    if isinstance(error, MemoryError):
        return Exhausted("OUT_OF_MEMORY", "no memory is left for this request", "send a smaller batch")
    return as_mesh_error(error)
