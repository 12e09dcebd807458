"""The data plane: what a host answers, on plain values and without any transport.

    face (gRPC, HTTP, one day an HTTP/2 of our own)   decodes bytes into a Call, encodes the Answer, carries MeshErrors
    DataPlane                                         finds the model, checks the call, runs it in time
    loader, execution                                 run the model

A model answers to its id and to the position's `serve_as`; its version is its id or empty. Whatever is wrong is a
MeshError whose class is the answer's code on every face: NotFound for names, Unavailable (never executed, safe to
retry) for a model that does not serve now, Invalid for tensors, DeadlineExceeded for a call that came or came out late.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from inference_host import loader
from inference_host.calls import Answer, Call, IndexEntry, Metadata
from inference_host.execution import Execution
from inference_host.lifecycle import REPOSITORY_STATES, Lifecycle, State, worst
from inference_host.loader import Warm
from inference_host.manifest import Package
from inference_host.meter import Meter
from inference_host.signature import checked_inputs, checked_outputs
from inference_host.template import Arrays
from inference_host.tensors import Tensor
from waypost.errors import DeadlineExceeded, Denied, Invalid, NotFound, Unavailable, Unsupported

SERVER_NAME = "waypost"
EXTENSIONS = ("binary_tensor_data", "model_repository")
ID_CHARS_MAX = 256  # of a request: it is echoed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host serves. All empty for one that was started by hand."""

    position: str = ""
    """Full name."""
    position_uid: str = ""
    replica: str = ""
    serve_as: str = ""
    generation: int = 0
    """Of the position's spec; 0 until the monitor told."""

    @property
    def by_hand(self) -> bool:
        return not self.position_uid


@dataclass(slots=True)
class Served:
    """One model version of this host and where it is in its life."""

    package: Package
    life: Lifecycle = field(default_factory=Lifecycle)
    warm: Warm | None = None
    """Set once it is READY, for good."""


class DataPlane:
    """Everything that a face may ask for."""

    def __init__(
        self, served: Sequence[Served], place: Place, execution: Execution, clock: Callable[[], float]
    ) -> None:
        self.served = tuple(served)
        self.place = place
        self.meter = Meter(clock)
        self._execution = execution
        self._by_name = _names(self.served, place.serve_as)

    def life(self) -> Lifecycle:
        """The host's as a whole."""
        return worst([served.life for served in self.served])

    def ready(self) -> bool:
        """Whether every model serves."""
        return self.life().serves

    def model_ready(self, model: str, version: str) -> bool:
        """Raises: NotFound."""
        return self._find(model, version).life.serves

    def metadata(self, model: str, version: str) -> Metadata:
        """Raises: NotFound, Unavailable(MODEL_NOT_READY) before the model is loaded."""
        served = self._find(model, version)
        if served.warm is None:
            raise _not_serving(served)
        platform = "template" if served.package.template_class else "onnxruntime_onnx"
        return Metadata(served.package.model, served.package.version, platform, served.warm.loaded.signature)

    def index(self, *, ready_only: bool) -> list[IndexEntry]:
        return [
            IndexEntry(served.package.model, served.package.version, _state(served), served.life.message)
            for served in self.served
            if served.life.serves or not ready_only
        ]

    def facts(self, model: str, version: str) -> tuple[tuple[str, str], ...]:
        """Who answered, as the metadata or headers of a reply. Raises: NotFound."""
        served = self._find(model, version)
        return (
            ("waypost-model-version", served.package.full_name),
            ("waypost-model-digest", served.package.digest),
            ("waypost-position-generation", str(self.place.generation)),
            ("waypost-replica", self.place.replica),
        )

    def refuse_repository_change(self, verb: str, model: str) -> NoReturn:
        """Raises: Denied at a position, Unsupported on a host that was started by hand."""
        if not self.place.by_hand:
            hint = "an operator changes the model of a position: `waypost deploy MODEL_VERSION --position NAME`"
            raise Denied("NOT_FOR_XAPPS", f"xApps may not {verb} models ({model!r})", hint)
        hint = "start it again with the models it is to serve"
        raise Unsupported(
            "FIXED_REPOSITORY", f"this host cannot {verb} {model!r}: it loads its models once, at start", hint
        )

    def only_model(self) -> str:
        """Id of the one model of this host. Raises: Invalid(SEVERAL_MODELS)."""
        if len(self.served) != 1:
            names = ", ".join(served.package.model for served in self.served)
            raise Invalid(
                "SEVERAL_MODELS", f"this host serves several models: {names}", "name one in an inference call"
            )
        return self.served[0].package.model

    async def infer(self, call: Call) -> Answer:
        """Raises: MeshError."""
        served = self._find(call.model, call.version)
        warm = served.warm
        if warm is None or not served.life.serves:
            raise _not_serving(served)
        if len(call.id) > ID_CHARS_MAX:
            raise Invalid(
                "BAD_ID", f"the request's id has {len(call.id)} characters, at most {ID_CHARS_MAX} are allowed"
            )
        inputs = checked_inputs(warm.loaded.signature, call.inputs)
        wanted = checked_outputs(warm.loaded.signature, call.outputs)
        if call.deadline is None:
            arrays = await loader.run(warm.loaded, inputs, self._execution, inline=warm.inline(inputs))
        else:
            arrays = await self._in_time(warm, inputs, call.deadline)
        outputs = tuple(Tensor(spec.name, spec.datatype, arrays[spec.name]) for spec in wanted)
        return Answer(served.package.model, served.package.version, call.id, outputs)

    def deadline_of(self, timeout_s: float | None, parameters: Mapping[str, object]) -> float | None:
        """When an answer is no longer wanted: the transport's word, or `timeout` (µs) among the call's parameters."""
        timeout_us = parameters.get("timeout")
        if isinstance(timeout_us, int) and timeout_us > 0:
            timeout_s = min(timeout_us / 1e6, float("inf") if timeout_s is None else timeout_s)
        return None if timeout_s is None else self.meter.clock() + timeout_s

    async def _in_time(self, warm: Warm, inputs: Arrays, deadline: float) -> Arrays:
        left_s = deadline - self.meter.clock()
        if left_s <= 0:
            raise DeadlineExceeded("TOO_LATE", "the deadline had passed before the model was asked", "allow more time")
        try:
            async with asyncio.timeout(left_s):
                arrays = await loader.run(warm.loaded, inputs, self._execution, inline=warm.inline(inputs))
        except TimeoutError:
            raise DeadlineExceeded(
                "TOO_LATE", "the deadline passed before the model answered", "allow more time"
            ) from None
        return arrays

    def _find(self, model: str, version: str) -> Served:
        served = self._by_name.get(model)
        if served is None:
            raise NotFound(
                "UNKNOWN_MODEL", f"no model {model!r} is served here", f"there is {', '.join(self._by_name)}"
            )
        if version and version != served.package.version:
            raise NotFound(
                "UNKNOWN_VERSION",
                f"version {version!r} of {model!r} is not served here",
                f"leave it empty, or ask for {served.package.version!r}",
            )
        return served


def _names(served: Sequence[Served], serve_as: str) -> dict[str, Served]:
    names = {each.package.model: each for each in served}
    if serve_as:
        assert len(served) == 1, "a position serves one model version per host"
        names.setdefault(serve_as, served[0])
    return names


def _state(served: Served) -> str:
    return REPOSITORY_STATES[served.life.state]


def _not_serving(served: Served) -> Unavailable:
    """Nothing was executed: whoever asks may ask another replica, or again."""
    name, life = served.package.model, served.life
    if life.state is State.FAILED:
        return Unavailable("MODEL_FAILED", f"model {name!r} could not be loaded: {life.message}", "see the host's log")
    if life.state is State.DRAINING:
        return Unavailable("DRAINING", "this host is stopping", "try again: another replica answers")
    return Unavailable("MODEL_NOT_READY", f"model {name!r} is {life.state.lower()}", "try again in a moment")
