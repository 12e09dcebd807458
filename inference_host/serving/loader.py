"""From a package to a model that has answered: load, compare with the manifest, warm up.

The same code runs in a host, before READY, and in `waypost host check`, before a version becomes available. Sample
inputs are the package's `samples.json`; for ONNX they are made up from the signature where there is none. The file
holds an Open Inference Protocol request in JSON, or a list of them, so a sample can be sent with curl as it is.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import structlog

from inference_host.model import template
from inference_host.model.faults import is_withdrawal
from inference_host.model.loaded import Loaded
from inference_host.model.manifest import Package
from inference_host.model.onnx import OnnxTemplate
from inference_host.model.template import Arrays, Context, Memory, Steps
from inference_host.serving import calibration
from inference_host.serving.calibration import NEVER_TOGETHER, Together
from inference_host.serving.execution import INLINE_MAX_S, Execution
from inference_host.values import oip_json
from inference_host.values.calls import SequenceLimits
from inference_host.values.signature import Signature, checked_inputs, made_up_inputs
from waypost.errors import Internal, Invalid, MeshError, Precondition

log = structlog.get_logger()

WIDE_RUN_S_MIN = 0.01  # below it, waking other threads costs what they do
WIDE_GAIN_MIN = 1.3  # times faster: several threads for one run cost a tenth to a quarter more CPU time
SAMPLE_SIZES = (1, 8, 64, 224)  # tried in turn for sizes that vary; 224 is what image networks are trained with
SAMPLES_BYTES_MAX = 16 << 20
SAMPLES_MAX = 32


@dataclass(frozen=True, slots=True)
class Warm:
    """A model that has answered."""

    loaded: Loaded
    run_s: float
    """Fastest run of the first sample; infinite for what needs the event loop itself."""
    samples: Sequence[Arrays]
    """What went through it."""
    inline_elements_max: int
    """Calls of up to so many elements run on the event loop; 0: none."""
    together: Together = NEVER_TOGETHER


async def prepare(package: Package, execution: Execution, on_loaded: Callable[[], None]) -> Warm:
    """Loads a version and proves that it answers; `on_loaded` is called in between.

    One thread runs it, unless it is a slow graph that several run faster: that is tried. Never with two in memory,
    which may be more than the replica was given. Raises: Precondition.
    """
    narrow = await load(package, execution, threads=1)
    on_loaded()
    warm = await warm_up(narrow, execution)
    narrow.metrics.take()  # what the samples counted is no caller's
    if not warm.loaded.is_graph or warm.run_s < WIDE_RUN_S_MIN or execution.threads == 1:
        return warm
    narrow_s = warm.run_s
    del narrow, warm
    wide = await warm_up(await load(package, execution, threads=execution.threads), execution)
    if wide.run_s * WIDE_GAIN_MIN <= narrow_s:
        return wide
    del wide
    return await warm_up(await load(package, execution, threads=1), execution)


async def load(package: Package, execution: Execution, *, threads: int) -> Loaded:
    """Raises: Precondition with the reason why the model cannot be served."""
    instance: Any = OnnxTemplate()
    if package.template_class:
        from inference_host.model import requirements  # 30 ms, which a graph does not need

        await execution.aside(requirements.check, package.directory)
        instance = await execution.aside(partial(template.make, package.directory), package.template_class)
    steps = template.steps_of(instance)
    _check_state(package, steps)
    context = Context(package.directory, package.model, package.version, package.model_file, package.signature, threads)
    await _call_load(instance, context, execution)
    signature = template.signature_of(instance) or package.signature
    if signature is None:
        raise Precondition(
            "NO_SIGNATURE",
            f"nobody says what {package.full_name} takes and gives",
            "publish the version with a signature, or let load() set self.signature",
        )
    _check_promise(package, signature)
    return Loaded(
        package,
        signature,
        steps,
        batches=template.batches(instance, steps),
        threads=threads,
        sequences=_limits(instance, steps),
        hung_after_s=template.bound(instance, "hung_after_s"),
        metrics=context.metrics,
    )


async def warm_up(loaded: Loaded, execution: Execution) -> Warm:
    """Runs every sample, the first one several times, and then in batches.

    Raises: Precondition(SAMPLE_FAILED | NO_SAMPLES | BAD_SAMPLES | OUT_OF_MEMORY).
    """
    failure: MeshError | None = None
    for samples in _samples(loaded):
        try:
            if loaded.steps.on_loop:
                return await _warm_on_loop(loaded, samples, execution)
            return await execution.aside(partial(_warm, loaded), samples)
        except MeshError as error:
            failure = failure or error
    assert failure is not None
    raise _sample_failed(loaded, failure) from failure


async def _warm_on_loop(loaded: Loaded, samples: Sequence[Arrays], execution: Execution) -> Warm:
    steps = _as_one_sequence(loaded)
    for sample in samples:
        await steps.answer_on_loop(sample, execution)
    return Warm(loaded, math.inf, samples, 0)


def _warm(loaded: Loaded, samples: Sequence[Arrays]) -> Warm:
    steps = _as_one_sequence(loaded)
    for sample in samples:
        steps.answer(sample)
    run_s = calibration.fastest(loaded.answer, samples[0])
    together = calibration.together(loaded, samples[0])
    runs = [(calibration.elements(samples[0]), run_s), *together.runs]
    return Warm(loaded, run_s, samples, _inline_elements_max(loaded, runs), together)


def _as_one_sequence(loaded: Loaded) -> Loaded:
    """The samples of a model that keeps state are the steps of one sequence: so the second one meets a state."""
    return loaded if loaded.sequences is None else loaded.within(Memory())


async def _call_load(instance: Any, context: Context, execution: Execution) -> None:
    try:
        if inspect.iscoroutinefunction(instance.load):
            await instance.load(context)
        else:
            await execution.aside(instance.load, context)
    except MeshError:
        raise
    except MemoryError as error:
        hint = "give the replica more memory (spec.resources.memory_bytes) or shrink the model"
        raise Precondition("OUT_OF_MEMORY", f"no memory left to load {context.model}", hint) from error
    except BaseException as error:  # user code ends here
        if is_withdrawal(error):
            raise
        raise template.failed("load()", error) from error


def _limits(instance: Any, steps: Steps) -> SequenceLimits | None:
    if steps.start is None:
        return None
    return SequenceLimits(
        math.ceil(template.bound(instance, "sequences_max")), template.bound(instance, "sequence_idle_s")
    )


def _check_state(package: Package, steps: Steps) -> None:
    """Raises: Precondition(STATE_MISMATCH): where the version may be deployed, and how, goes by what it declares."""
    if package.keeps_state in (None, steps.start is not None):
        return
    if package.keeps_state:
        raise Precondition(
            "STATE_MISMATCH",
            f"{package.full_name} is declared to keep state, and its template has no start_sequence",
            "write start_sequence(self) and predict(self, prepared, state), or publish it without --keeps-state",
        )
    raise Precondition(
        "STATE_MISMATCH",
        f"the template of {package.full_name} has start_sequence, and the version is not declared to keep state",
        "publish it with --keeps-state (keepsState in manifest.json): it needs a position with one replica",
    )


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


def _inline_elements_max(loaded: Loaded, runs: Sequence[tuple[int, float]]) -> int:
    """How large a call may be that runs on the event loop, if its time grows like its size from any of `runs` on.

    Only for graphs: a template may wait for something, and the whole host would wait with it.
    """
    if not loaded.is_graph:
        return 0
    return max(int(size * INLINE_MAX_S / run_s) if run_s < INLINE_MAX_S else 0 for size, run_s in runs)


def _sample_failed(loaded: Loaded, failure: MeshError) -> Precondition:
    if failure.reason == "OUT_OF_MEMORY":
        return Precondition(
            "OUT_OF_MEMORY", failure.message, "give the replica more memory (spec.resources.memory_bytes)"
        )
    return Precondition(
        "SAMPLE_FAILED", f"a sample did not go through the model: {failure.message}", _mend(loaded, failure)
    )


def _mend(loaded: Loaded, failure: MeshError) -> str:
    if loaded.package.template_class and isinstance(failure, Internal):
        return failure.hint  # the template raised, or broke its promise: nobody knows better what to do
    return (
        "mend samples.json" if loaded.package.samples_file else "publish the version with a samples.json that fits it"
    )
