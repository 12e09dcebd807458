"""A model in memory, and what it answers: its steps, with whatever they raise or give turned into what callers hear."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
import structlog

from inference_host.model.faults import begin_at_template, is_withdrawal
from inference_host.model.manifest import Package
from inference_host.model.template import Arrays, Memory, Steps, Template
from inference_host.model.template_metrics import Metrics
from inference_host.values.calls import SequenceLimits
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES
from waypost.errors import Exhausted, Internal, MeshError

log = structlog.get_logger()

T = TypeVar("T")


class Threads(Protocol):
    """Where the plain steps of a template run whose others are coroutines."""

    def on_thread(self, function: Callable[[Any], T], argument: Any) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory."""

    package: Package
    signature: Signature
    steps: Steps
    batches: bool = False
    """Whether calls may go through together, as far as its author is concerned."""
    threads: int = 1
    """That one run may use."""
    sequences: SequenceLimits | None = None
    """Of a model that keeps state from one call of a sequence to the next."""
    hung_after_s: float = Template.hung_after_s
    """A run that takes longer is given up."""
    metrics: Metrics = field(default_factory=Metrics)
    """The template's own."""

    @property
    def is_graph(self) -> bool:
        """Not somebody's code: answers depend on nothing but the inputs, and asking again does no harm."""
        return not self.package.template_class

    def within(self, memory: Memory) -> "Loaded":
        """The same, as it answers the next step of a sequence. Only where it keeps state."""
        return replace(self, steps=self.steps.within(memory))

    def answer(self, inputs: Arrays, request: str = "") -> Arrays:
        """By output name. Blocks for as long as the model takes. Not for steps of which one is a coroutine function.

        request: its id, for the log. Where state is kept the call is a sequence of its own.
        Raises: MeshError; a template's own exceptions, of any kind, as Internal or Exhausted.
        """
        try:
            given = self.steps.run(inputs)
        except MeshError:
            raise
        except BaseException as error:  # user code ends here
            raise _failed(self, error, request) from error
        return _outputs(self, given)

    async def answer_on_loop(self, inputs: Arrays, threads: Threads, request: str = "") -> Arrays:
        """The same for steps of which one is a coroutine function; plain ones go to a thread."""
        steps = self.steps if self.steps.start is None else self.steps.within(Memory())
        value: Any = inputs
        try:
            for step in (steps.preprocess, steps.predict, steps.postprocess):
                value = await (step(value) if inspect.iscoroutinefunction(step) else threads.on_thread(step, value))
        except MeshError:
            raise
        except BaseException as error:  # user code ends here
            if is_withdrawal(error):
                raise
            raise _failed(self, error, request) from error
        return _outputs(self, value)


def _failed(loaded: Loaded, error: BaseException, request: str) -> MeshError:
    package = loaded.package
    log.error(
        "model_failed",
        model=package.full_name,
        version=package.version,
        request=request or None,
        exc_info=begin_at_template(error),
    )
    if isinstance(error, MemoryError):
        return Exhausted("OUT_OF_MEMORY", "no memory is left for this request", "send a smaller batch")
    hint = "its traceback stands in the host's log"
    return Internal("MODEL_FAILED", f"the model failed on this request with {type(error).__name__}", hint)


def _outputs(loaded: Loaded, answer: Any) -> Arrays:
    """The answer of a template, checked against the signature: a wrong one is its author's fault, not the caller's."""
    if loaded.is_graph:
        arrays: Arrays = answer  # a graph keeps its promises
        return arrays
    specs = loaded.signature.outputs
    if not isinstance(answer, dict):
        if len(specs) != 1 or not isinstance(answer, np.ndarray):
            _refuse_shapeless(loaded, answer)
        answer = {specs[0].name: answer}
    outputs = {spec.name: _output(loaded, spec, answer.get(spec.name), answer) for spec in specs}
    if len(answer) != len(specs):
        unknown = ", ".join(repr(name) for name in answer if name not in outputs)
        raise _wrong_answer(loaded, f"{unknown}, which the signature does not have", "name the outputs as it does")
    return outputs


def _refuse_shapeless(loaded: Loaded, answer: Any) -> NoReturn:
    """Neither a dict nor the one array that could stand for it. Raises: Internal(TEMPLATE_FAILED)."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise _wrong_answer(loaded, "a coroutine", "make the step that returns it `async def`, and await it there")
    specs = loaded.signature.outputs
    wanted = f"an array for {specs[0].name!r}" if len(specs) == 1 else f"a dict of {len(specs)} outputs"
    raise _wrong_answer(loaded, f"{type(answer).__name__} instead of {wanted}", "return arrays of numpy by output name")


def _output(loaded: Loaded, spec: TensorSpec, value: Any, answer: dict[str, Any]) -> Any:
    if not isinstance(value, np.ndarray):
        if value is None:
            given = ", ".join(map(repr, answer)) or "none at all"
            raise _wrong_answer(loaded, f"nothing for output {spec.name!r}", f"it gave {given}")
        what = f"{type(value).__name__} for output {spec.name!r}, which is {spec.datatype}"
        raise _wrong_answer(loaded, what, "return an array of numpy, e.g. np.asarray(value, dtype=np.float32)")
    if value.dtype != DTYPES[spec.datatype]:
        hint = "an array of dtype object that holds bytes" if spec.datatype == "BYTES" else _cast(spec)
        raise _wrong_answer(loaded, f"{value.dtype} for output {spec.name!r}, which is {spec.datatype}", hint)
    if spec.datatype == "BYTES" and not all(type(element) is bytes for element in value.flat):
        raise _wrong_answer(loaded, f"other things than bytes in output {spec.name!r}", "encode text: text.encode()")
    if not spec.fits(value.shape):
        what = f"shape {list(value.shape)} for output {spec.name!r}, which is {list(spec.shape)}"
        raise _wrong_answer(loaded, what, "-1 stands for any size" if -1 in spec.shape else "reshape it")
    return value


def _cast(spec: TensorSpec) -> str:
    return f"cast it: .astype(np.dtype({DTYPES[spec.datatype].name!r}))"


def _wrong_answer(loaded: Loaded, what: str, hint: str) -> Internal:
    return Internal("TEMPLATE_FAILED", f"the template of {loaded.package.full_name} gave {what}", hint)
