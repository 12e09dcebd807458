"""A model in memory, and what it answers: its steps, with whatever they raise or give turned into what callers hear."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from inference_host.manifest import Package
from inference_host.signature import Signature, TensorSpec
from inference_host.template import Arrays, Steps
from inference_host.tensors import DTYPES
from waypost.errors import Internal, MeshError

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

    @property
    def is_graph(self) -> bool:
        """Not somebody's code: answers depend on nothing but the inputs, and asking again does no harm."""
        return not self.package.template_class

    def answer(self, inputs: Arrays) -> Arrays:
        """By output name. Blocks for as long as the model takes. Not for steps of which one is a coroutine function.

        Raises: MeshError; a template's own exceptions as Internal.
        """
        try:
            given = self.steps.run(inputs)
        except MeshError:
            raise
        except (Exception, SystemExit) as error:  # user code ends here
            raise _failed(self, error) from error
        return _outputs(self, given)

    async def answer_on_loop(self, inputs: Arrays, threads: Threads) -> Arrays:
        """The same for steps of which one is a coroutine function; plain ones go to a thread."""
        value: Any = inputs
        try:
            for step in (self.steps.preprocess, self.steps.predict, self.steps.postprocess):
                value = await (step(value) if inspect.iscoroutinefunction(step) else threads.on_thread(step, value))
        except MeshError:
            raise
        except (Exception, SystemExit) as error:  # user code ends here
            raise _failed(self, error) from error
        return _outputs(self, value)


def _failed(loaded: Loaded, error: BaseException) -> Internal:
    log.error("model_failed", model=loaded.package.full_name, exc_info=error)
    hint = "its traceback stands in the host's log"
    return Internal("MODEL_FAILED", f"the model failed on this request with {type(error).__name__}", hint)


def _outputs(loaded: Loaded, answer: Any) -> Arrays:
    """The answer of a template, checked against the signature: a wrong one is its author's fault, not the caller's."""
    if loaded.is_graph:
        arrays: Arrays = answer  # a graph keeps its promises
        return arrays
    specs = loaded.signature.outputs
    if not isinstance(answer, dict):
        if len(specs) != 1:
            raise _wrong_answer(loaded, f"{type(answer).__name__} instead of a dict of {len(specs)} outputs")
        answer = {specs[0].name: answer}
    return {spec.name: _output(loaded, spec, answer.get(spec.name)) for spec in specs}


def _output(loaded: Loaded, spec: TensorSpec, value: Any) -> Any:
    if value is None or getattr(value, "dtype", None) != DTYPES[spec.datatype]:
        kind = "nothing" if value is None else str(getattr(value, "dtype", type(value).__name__))
        raise _wrong_answer(loaded, f"{kind} for output {spec.name!r}, which is {spec.datatype}")
    if spec.datatype == "BYTES" and not all(type(element) is bytes for element in value.flat):
        raise _wrong_answer(loaded, f"other things than bytes in output {spec.name!r}")
    if not spec.fits(value.shape):
        raise _wrong_answer(loaded, f"shape {list(value.shape)} for output {spec.name!r}, which is {list(spec.shape)}")
    return value


def _wrong_answer(loaded: Loaded, what: str) -> Internal:
    message = f"the template of {loaded.package.full_name} gave {what}"
    return Internal("TEMPLATE_FAILED", message, "return what the signature says, e.g. with .astype(np.float32)")
