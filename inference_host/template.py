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
thread. Arrays of a request are read-only views. A template refuses a request by raising `waypost.errors.Invalid`; any
other exception is answered with INTERNAL and logged.

Calls reach a template one by one, each as it was sent. One whose rows have nothing to do with one another may set
`batches = True`: then the rows of calls that queue go through it together.

The signature comes from the version's manifest or from an attribute `signature` that `load` may set. Sample inputs
come from `samples.json` in the package.

Modules of a package are imported under a package name of their own, so that `from . import features` works and two
packages never see each other's modules. The directory also stands at the *end* of `sys.path`, for plain
`import features`: behind everything installed, so that no file of a package can take a library's place.
"""

import importlib
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from inference_host.signature import Signature
from inference_host.tensors import Array
from waypost.errors import Precondition

Arrays: TypeAlias = dict[str, Array]
Step: TypeAlias = Callable[[Any], Any]

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


class Template:
    """Base class with the optional parts; a template need not inherit from it."""

    signature: Signature | None = None
    batches: bool = False
    """Whether the rows of several calls may go through together. Then each row's answer must depend on that row only,
    and answering twice must do no harm. Not for coroutines."""

    def load(self, context: Context) -> Any:
        """Once, before the first call. May be a coroutine function."""

    def preprocess(self, inputs: Arrays) -> Any:
        return inputs

    def predict(self, prepared: Any) -> Any:
        """Abstract, the one part that every template must have: there is nothing to do in its place."""
        raise NotImplementedError

    def postprocess(self, predicted: Any) -> Any:
        return predicted


@dataclass(frozen=True, slots=True)
class Steps:
    """The three steps of a call. `on_loop` where any of them is a coroutine function."""

    preprocess: Step
    predict: Step
    postprocess: Step

    @property
    def on_loop(self) -> bool:
        return any(map(inspect.iscoroutinefunction, (self.preprocess, self.predict, self.postprocess)))

    def run(self, inputs: Arrays) -> Any:
        """All three in one go. Only where none is a coroutine function."""
        return self.postprocess(self.predict(self.preprocess(inputs)))


def steps_of(template: Any) -> Steps:
    """Raises: Precondition(TEMPLATE_INCOMPLETE)."""
    for required in ("load", "predict"):
        if not callable(getattr(template, required, None)):
            name = type(template).__name__
            raise Precondition(
                "TEMPLATE_INCOMPLETE",
                f"{name} has no method {required}",
                "write load(self, context) and predict(self, prepared)",
            )
    return Steps(
        getattr(template, "preprocess", _unchanged), template.predict, getattr(template, "postprocess", _unchanged)
    )


def batches(template: Any, steps: Steps) -> bool:
    return getattr(template, "batches", False) is True and not steps.on_loop


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
    except (Exception, SystemExit) as error:  # user code ends here; whatever it raises is its author's business
        raise failed(f"{template_class}()", error) from error


def failed(where: str, error: BaseException) -> Precondition:
    """The failure of a template, in the words of its own exception."""
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
    except (Exception, SystemExit) as error:  # user code ends here
        raise failed(f"importing {module_name}.py", error) from error


def _unchanged(value: Any) -> Any:
    return value
