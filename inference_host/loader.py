"""From a package to a model that has answered: load, compare with the manifest, warm up.

The same code runs in a host, before READY, and in `waypost host check`, before a version becomes available. Sample
inputs are the package's `samples.json`; for ONNX they are made up from the signature where there is none. The file
holds an Open Inference Protocol request in JSON, or a list of them, so a sample can be sent with curl as it is.
"""

import inspect
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

from inference_host import oip_json, template
from inference_host.execution import INLINE_MAX_S, Execution
from inference_host.manifest import Package
from inference_host.onnx import OnnxTemplate
from inference_host.signature import Signature, TensorSpec, checked_inputs, made_up_inputs
from inference_host.template import Arrays, Context, Steps
from inference_host.tensors import DTYPES
from waypost.errors import Internal, Invalid, MeshError, Precondition

log = structlog.get_logger()

WARM_RUNS = 5  # the fastest is what the model takes; the others met somebody else on the CPU
WARM_BUDGET_S = 1.0  # all runs together: a slow model is known to be slow after the first
SAMPLE_SIZES = (1, 8, 64, 224)  # tried in turn for sizes that vary; 224 is what image networks are trained with
SAMPLES_BYTES_MAX = 16 << 20
SAMPLES_MAX = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory."""

    package: Package
    signature: Signature
    steps: Steps


@dataclass(frozen=True, slots=True)
class Warm:
    """A model that has answered."""

    loaded: Loaded
    run_s: float
    """Fastest run of the first sample; infinite for what needs the event loop itself."""
    samples: Sequence[Arrays]
    """What went through it."""
    inline_elements_max: int
    """Requests of up to so many elements run on the event loop; 0: none."""

    def inline(self, inputs: Arrays) -> bool:
        """Whether these inputs may run on the event loop."""
        return bool(self.inline_elements_max) and _elements(inputs) <= self.inline_elements_max


async def load(package: Package, execution: Execution, *, threads: int) -> Loaded:
    """Raises: Precondition with the reason why the model cannot be served."""
    instance: Any = OnnxTemplate()
    if package.template_class:
        instance = await execution.on_thread(partial(template.make, package.directory), package.template_class)
    steps = template.steps_of(instance)
    context = Context(package.directory, package.model, package.version, package.model_file, package.signature, threads)
    await _call_load(instance, context, execution)
    signature = getattr(instance, "signature", None) or package.signature
    if signature is None:
        raise Precondition(
            "NO_SIGNATURE",
            f"nobody says what {package.full_name} takes and gives",
            "publish the version with a signature, or let load() set self.signature",
        )
    _check_promise(package, signature)
    return Loaded(package, signature, steps)


async def warm_up(loaded: Loaded, execution: Execution) -> Warm:
    """Runs every sample, the first one several times.

    Raises: Precondition(SAMPLE_FAILED | NO_SAMPLES | BAD_SAMPLES | OUT_OF_MEMORY).
    """
    candidates = _samples(loaded)
    failure: MeshError | None = None
    for samples in candidates:
        try:
            run_s = await _run_all(loaded, samples, execution)
        except MeshError as error:
            failure = failure or error
            continue
        return Warm(loaded, run_s, samples, _inline_elements_max(loaded, samples[0], run_s))
    assert failure is not None
    raise _sample_failed(loaded, failure) from failure


async def run(loaded: Loaded, inputs: Arrays, execution: Execution, *, inline: bool) -> Arrays:
    """What the model answers, by output name. Raises: MeshError; a template's own exceptions as Internal."""
    return _outputs(loaded, await _guarded(loaded, execution.run(loaded.steps, inputs, inline=inline)))


async def _guarded(loaded: Loaded, answer: Awaitable[T]) -> T:
    try:
        return await answer
    except MeshError:
        raise
    except (Exception, SystemExit) as error:  # user code ends here
        log.error("model_failed", model=loaded.package.full_name, exc_info=error)
        hint = "its traceback stands in the host's log"
        raise Internal("MODEL_FAILED", f"the model failed on this request with {type(error).__name__}", hint) from error


async def _call_load(instance: Any, context: Context, execution: Execution) -> None:
    try:
        if inspect.iscoroutinefunction(instance.load):
            await instance.load(context)
        else:
            await execution.on_thread(instance.load, context)
    except MeshError:
        raise
    except MemoryError as error:
        hint = "give the replica more memory (spec.resources.memory_bytes) or shrink the model"
        raise Precondition("OUT_OF_MEMORY", f"no memory left to load {context.model}", hint) from error
    except (Exception, SystemExit) as error:  # user code ends here
        log.error("load_failed", model=context.model, exc_info=error)
        raise template.failed("load()", error) from error


def _check_promise(package: Package, signature: Signature) -> None:
    promised = package.signature
    if promised is not None and not promised.agrees(signature):
        raise Precondition(
            "SIGNATURE_MISMATCH",
            f"the manifest promises {promised}, the model has {signature}",
            "publish the version again, without a signature: it is read from the model",
        )


def _samples(loaded: Loaded) -> Sequence[list[Arrays]]:
    """Lists of samples, in the order in which to try them; the first list that runs is good enough."""
    path = loaded.package.samples_file
    if path is not None:
        return [_read_samples(path, loaded.signature)]
    if loaded.package.template_class:
        raise Precondition(
            "NO_SAMPLES",
            f"{loaded.package.full_name} has no samples.json, and a template's inputs cannot be made up",
            "publish the version with one: an inference request in JSON, or a list of them",
        )
    varies = any(-1 in spec.shape[1:] for spec in loaded.signature.inputs)
    return [[made_up_inputs(loaded.signature, size)] for size in (SAMPLE_SIZES if varies else SAMPLE_SIZES[:1])]


def _read_samples(path: Path, signature: Signature) -> list[Arrays]:
    try:
        if path.stat().st_size > SAMPLES_BYTES_MAX:
            raise Invalid("TOO_LARGE", f"it is larger than {SAMPLES_BYTES_MAX} bytes")
        content = orjson.loads(path.read_bytes())
        requests = content if isinstance(content, list) else [content]
        if not 0 < len(requests) <= SAMPLES_MAX:
            raise Invalid("TOO_MANY", f"it holds {len(requests)} samples, 1 to {SAMPLES_MAX} are expected")
        return [checked_inputs(signature, oip_json.inputs_of(request)) for request in requests]
    except (OSError, ValueError, MeshError) as error:
        hint = 'write it like a request: {"inputs": [{"name": ..., "datatype": ..., "shape": ..., "data": [...]}]}'
        raise Precondition("BAD_SAMPLES", f"{path.name}: {error}", hint) from error


async def _run_all(loaded: Loaded, samples: Sequence[Arrays], execution: Execution) -> float:
    """Runs them all, and times the first. Seconds at best; infinite for what needs the event loop itself."""
    for sample in samples:
        await run(loaded, sample, execution, inline=False)
    if loaded.steps.on_loop:
        return math.inf
    return await _guarded(loaded, execution.on_thread(partial(_fastest, loaded.steps.run), samples[0]))


def _inline_elements_max(loaded: Loaded, sample: Arrays, run_s: float) -> int:
    """How large a request may be that runs on the event loop, if its time grows like its size.

    Only for graphs: a template may wait for something, and the whole host would wait with it.
    """
    if loaded.package.template_class or run_s >= INLINE_MAX_S:
        return 0
    return int(_elements(sample) * INLINE_MAX_S / run_s)


def _elements(inputs: Arrays) -> int:
    return sum(array.size for array in inputs.values())


def _fastest(function: Callable[[Arrays], Any], inputs: Arrays) -> float:
    """Seconds of the fastest of some runs, on this very thread: the hand-over is what running inline saves."""
    best, began = math.inf, time.perf_counter()
    for _ in range(WARM_RUNS):
        start = time.perf_counter()
        function(inputs)
        end = time.perf_counter()
        best = min(best, end - start)
        if end - began > WARM_BUDGET_S:
            break
    return best


def _sample_failed(loaded: Loaded, failure: MeshError) -> Precondition:
    if failure.reason == "OUT_OF_MEMORY":
        return Precondition(
            "OUT_OF_MEMORY", failure.message, "give the replica more memory (spec.resources.memory_bytes)"
        )
    hint = (
        "mend samples.json" if loaded.package.samples_file else "publish the version with a samples.json that fits it"
    )
    return Precondition("SAMPLE_FAILED", f"a sample did not go through the model: {failure.message}", hint)


def _outputs(loaded: Loaded, answer: Any) -> Arrays:
    """The answer of a template, checked against the signature: a wrong one is its author's fault, not the caller's."""
    specs = loaded.signature.outputs
    if not isinstance(answer, dict):
        if len(specs) != 1:
            raise _wrong_answer(loaded, f"{type(answer).__name__} instead of a dict of {len(specs)} outputs")
        answer = {specs[0].name: answer}
    if not loaded.package.template_class:
        arrays: Arrays = answer  # a graph keeps its promises
        return arrays
    return {spec.name: _output(loaded, spec, answer.get(spec.name)) for spec in specs}


def _output(loaded: Loaded, spec: TensorSpec, value: Any) -> Any:
    if value is None or getattr(value, "dtype", None) != DTYPES[spec.datatype]:
        kind = "nothing" if value is None else str(getattr(value, "dtype", type(value).__name__))
        raise _wrong_answer(loaded, f"{kind} for output {spec.name!r}, which is {spec.datatype}")
    if not spec.fits(value.shape):
        raise _wrong_answer(loaded, f"shape {list(value.shape)} for output {spec.name!r}, which is {list(spec.shape)}")
    return value


def _wrong_answer(loaded: Loaded, what: str) -> Internal:
    message = f"the template of {loaded.package.full_name} gave {what}"
    return Internal("TEMPLATE_FAILED", message, "return what the signature says, e.g. with .astype(np.float32)")
