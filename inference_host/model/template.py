"""Templates: the code around a model.

A model that is an ONNX graph needs none. Everything else is a class in the package, named by the version's
`template_class` (`template:Forecast` is class Forecast in template.py):

    class Forecast:
        def load(self, context):              # once; context.directory holds the package's files
            self.weights = np.load(context.directory / "weights.npy")

        def preprocess(self, inputs):         # optional; a dict of numpy arrays by input name
            return inputs["history"] / 100.0

        def predict(self, prepared):
            return prepared @ self.weights

        def postprocess(self, predicted):     # optional; a dict of numpy arrays by output name
            return {"forecast": predicted.astype(np.float32)}

Any of the four may be `async def`; those run on the event loop and must not block it, the others run on a worker
thread. Arrays of a request are read-only views. Arrays of an answer belong to the host from then on: they may still be
read when the next call runs, so a template makes new ones for each answer and never writes to one that it gave away.

A template refuses a request by raising `waypost.errors.Invalid`; any other exception is answered with INTERNAL and
logged, and hurts that request only (faults.py).

Calls reach a template one by one, each as it was sent. One whose rows have nothing to do with one another may set
`batches = True`: then the rows of calls that queue go through it together. One that remembers earlier calls defines
`start_sequence`: what that returns is handed to each `predict` of the sequence (serving/sequences.py).

The signature comes from the version's manifest or from an attribute `signature` that `load` may set. Sample inputs
come from `samples.json` in the package, the libraries that it needs from `requirements.txt`.

Modules of a package are imported under a package name of their own, so that `from . import features` works and two
packages never see each other's modules. The directory also stands at the *end* of `sys.path`, for plain
`import features`: behind everything installed, so that no file of a package can take a library's place.

docs/reference/templates.md is the reference for those who write one.
"""

import importlib
import inspect
import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from inference_host.model.faults import begin_at_template
from inference_host.model.template_metrics import Metrics
from inference_host.values.signature import Signature, flaw
from inference_host.values.tensors import Array
from waypost.errors import Precondition

Arrays: TypeAlias = dict[str, Array]
Step: TypeAlias = Callable[[Any], Any]

log = structlog.get_logger()

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Context:
    """What a template's `load` gets."""

    directory: Path
    """Holds the package's files. Read-only."""
    model: str
    version: str
    model_file: Path | None
    """The graph, where the package has one."""
    signature: Signature | None
    """As the manifest promises it."""
    threads: int
    """Threads that one call may use."""
    metrics: Metrics = field(default_factory=Metrics)
    """Makes counters, gauges and histograms of its own."""


class Template:
    """Base class with the optional parts; a template need not inherit from it.

    One that keeps state has two methods more or other than these: `start_sequence(self)`, and
    `predict(self, prepared, state)` with what that returned.
    """

    signature: Signature | None = None
    batches: bool = False
    """Whether the rows of several calls may go through together. Then each row's answer must depend on that row only,
    and answering twice must do no harm. Not for coroutines, and not for templates that keep state."""
    hung_after_s: float = 60.0
    """Seconds that one call may take in the model. One that takes longer is given up: its caller hears MODEL_HUNG."""
    sequences_max: int = 1024
    """Sequences that are remembered at a time; the state of each is in memory."""
    sequence_idle_s: float = 60.0
    """A sequence that has had no step for so many seconds is forgotten."""

    def load(self, context: Context) -> Any:
        """Once, before the first call. May be a coroutine function."""

    def preprocess(self, inputs: Arrays) -> Any:
        return inputs

    def predict(self, prepared: Any) -> Any:
        """Abstract, the one part that every template must have: there is nothing to do in its place."""
        raise NotImplementedError

    def postprocess(self, predicted: Any) -> Any:
        return predicted


class Memory:
    """What a template remembers of one sequence. Written by its steps, which run one after the other."""

    __slots__ = ("begun", "state")

    def __init__(self) -> None:
        self.begun = False
        """Whether `start_sequence` has been called for it."""
        self.state: Any = None

    def begin(self, state: Any) -> None:
        self.state, self.begun = state, True


@dataclass(frozen=True, slots=True)
class Steps:
    """The three steps of a call. `on_loop` where any of them is a coroutine function."""

    preprocess: Step
    predict: Callable[..., Any]
    """Takes what `preprocess` gave; of a template that keeps state, the state besides."""
    postprocess: Step
    start: Callable[[], Any] | None = None
    """`start_sequence`; None: no state is kept."""

    @property
    def on_loop(self) -> bool:
        return any(map(inspect.iscoroutinefunction, (self.preprocess, self.predict, self.postprocess)))

    def run(self, inputs: Arrays) -> Any:
        """All three in one go. Only where none is a coroutine function. Where state is kept: a sequence of one step."""
        if self.start is not None:
            return self.within(Memory()).run(inputs)
        return self.postprocess(self.predict(self.preprocess(inputs)))

    def within(self, memory: Memory) -> "Steps":
        """The steps of a call that is the next one of a sequence. Only where state is kept."""
        assert self.start is not None
        make = _remembering_later if inspect.iscoroutinefunction(self.predict) else _remembering
        return Steps(self.preprocess, make(self.start, self.predict, memory), self.postprocess)


def steps_of(template: Any) -> Steps:
    """Raises: Precondition(TEMPLATE_INCOMPLETE | BAD_TEMPLATE)."""
    for required in ("load", "predict"):
        if not callable(getattr(template, required, None)):
            name = type(template).__name__
            raise Precondition(
                "TEMPLATE_INCOMPLETE",
                f"{name} has no method {required}",
                "write load(self, context) and predict(self, prepared)",
            )
    steps = Steps(
        getattr(template, "preprocess", _unchanged),
        template.predict,
        getattr(template, "postprocess", _unchanged),
        getattr(template, "start_sequence", None),
    )
    _check(template, steps)
    return steps


def batches(template: Any, steps: Steps) -> bool:
    return getattr(template, "batches", False) is True and not steps.on_loop and steps.start is None


def signature_of(template: Any) -> Signature | None:
    """What it says itself. Raises: Precondition(BAD_TEMPLATE)."""
    found: Signature | None = getattr(template, "signature", None)
    if found is not None and (wrong := flaw(found)):
        raise _bad(template, wrong, 'like Signature(inputs=(TensorSpec("x", "FP32", (-1, 4)),), outputs=(...))')
    return found


def bound(template: Any, name: str) -> float:
    """One of the numbers that a template may set. Raises: Precondition(BAD_TEMPLATE)."""
    value = getattr(template, name, getattr(Template, name))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _bad(template, f"{name} is {value!r}", "it is a number above 0")
    return value


def make(directory: Path, template_class: str) -> Any:
    """An instance of `module:Class` of the package in `directory`.

    Raises: Precondition(BAD_TEMPLATE_CLASS | TEMPLATE_FAILED).
    """
    module_name, separator, class_name = template_class.partition(":")
    if not separator or not module_name or not class_name:
        raise Precondition("BAD_TEMPLATE_CLASS", f"{template_class!r} names no class", "write it as module:Class")
    module = _import(directory, module_name)
    kind = getattr(module, class_name, None)
    if not inspect.isclass(kind):
        raise Precondition("BAD_TEMPLATE_CLASS", f"{module_name}.py has no class {class_name}", "check template_class")
    try:
        return kind()
    except BaseException as error:  # user code ends here; whatever it raises is its author's business
        raise failed(f"{template_class}()", error) from error


def failed(where: str, error: BaseException) -> Precondition:
    """The failure of a template at load, in the words of its own exception; its traceback goes to the log."""
    log.error("template_failed", where=where, exc_info=begin_at_template(error))
    text = f"{where} raised {type(error).__name__}: {error}"
    return Precondition(
        "TEMPLATE_FAILED", text, "the traceback stands in the host's log; mend the template and publish anew"
    )


def _import(directory: Path, module_name: str) -> types.ModuleType:
    sys.dont_write_bytecode = True  # packages are shared and immutable
    package = types.ModuleType(f"waypost_package_{next(_numbers)}")
    package.__path__ = [str(directory)]
    sys.modules[package.__name__] = package
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    try:
        return importlib.import_module(f"{package.__name__}.{module_name}")
    except ModuleNotFoundError as error:
        if error.name == f"{package.__name__}.{module_name}":
            raise Precondition(
                "MISSING_FILE", f"{module_name}.py is missing from {directory}", "publish the version with it"
            ) from error
        raise Precondition(
            "MISSING_LIBRARY",
            f"{module_name}.py needs {error.name!r}, which is not installed here",
            "install it beside the host, or do without it",
        ) from error
    except BaseException as error:  # user code ends here
        raise failed(f"importing {module_name}.py", error) from error


def _check(template: Any, steps: Steps) -> None:
    """Raises: Precondition(BAD_TEMPLATE)."""
    for name in ("load", "preprocess", "predict", "postprocess", "start_sequence"):
        method = getattr(template, name, _unchanged)
        if not callable(method):
            raise _bad(template, f"{name} is no method", "write it as one, or leave it out")
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise _bad(template, f"{name} yields", "return the whole result: a call has one answer")
    if steps.start is not None and inspect.iscoroutinefunction(steps.start) != inspect.iscoroutinefunction(
        steps.predict
    ):
        raise _bad(template, "only one of start_sequence and predict is `async def`", "make both so, or neither")


def _bad(template: Any, what: str, hint: str) -> Precondition:
    return Precondition("BAD_TEMPLATE", f"{type(template).__name__}: {what}", hint)


def _remembering(start: Callable[[], Any], predict: Callable[..., Any], memory: Memory) -> Step:
    def step(prepared: Any) -> Any:
        if not memory.begun:
            memory.begin(start())
        return predict(prepared, memory.state)

    return step


def _remembering_later(start: Callable[[], Any], predict: Callable[..., Any], memory: Memory) -> Step:
    async def step(prepared: Any) -> Any:
        if not memory.begun:
            memory.begin(await start())
        return await predict(prepared, memory.state)

    return step


def _unchanged(value: Any) -> Any:
    return value
