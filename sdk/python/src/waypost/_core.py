"""A connection to one position, without the connection: what to send and what an answer means. Pure.

`client.py` and `aio.py` play these scripts (see `_steps.py`) over real channels; `_calls.py` is the floor below:
tokens, deadlines, retries.

The model's signature is fetched once, and again when an answer carries the digest of a model not seen before or the
position calls the inputs invalid: it may have been given a different model since. Whether that one may be asked twice
is asked then, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waypost import _retry
from waypost._calls import Caller, Target
from waypost._steps import MODEL_INFER, MODEL_METADATA, REPORT_LOOPS, Reply, Steps
from waypost.answer import Answer
from waypost.api.inference.v1 import inference_pb2
from waypost.api.xapp.v1 import access_pb2
from waypost.errors import DataLoss, Invalid, MeshError
from waypost.loop import LoopBuffer
from waypost.tensors import Array, Signature, TensorSpec, arrange, from_raw, to_raw

if TYPE_CHECKING:
    import random

DEFAULT_TIMEOUT_S = 5.0
SIGNATURE_PACE_S = 1.0  # during a rollout two models answer in turn; one look a second is enough
SIGNATURE_SHARE = 1 / 4  # of a call's time, where the old signature would most likely do
DIGESTS_KNOWN_MAX = 16  # models that a position had lately
INT64_END = 1 << 63


@dataclass(frozen=True, slots=True)
class Model:
    """What answers at the position, as far as building requests goes."""

    signature: Signature
    digest: str
    """Empty where the server does not say."""


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """Which step of which sequence a call is: the parameters of Triton's sequence extension."""

    id: int | str
    start: bool
    end: bool

    @classmethod
    def of(cls, id_: int | str | None, start: bool, end: bool) -> "SequenceStep | None":
        """None where no sequence is meant. Raises: Invalid(BAD_PARAMETER)."""
        if id_ is None and not start and not end:
            return None
        if not isinstance(id_, str) and (type(id_) is not int or not -INT64_END <= id_ < INT64_END):
            hint = "say which sequence is meant: by text, or by a whole number of 64 bits"
            raise Invalid("BAD_PARAMETER", f"sequence_id is {id_!r}", hint)
        return cls(id_, start, end)

    def put_into(self, request: inference_pb2.ModelInferRequest) -> None:
        if isinstance(self.id, str):
            request.parameters["sequence_id"].string_param = self.id
        else:
            request.parameters["sequence_id"].int64_param = self.id
        request.parameters["sequence_start"].bool_param = self.start
        request.parameters["sequence_end"].bool_param = self.end


class Session:
    """clock: monotonic seconds. rng: for the pauses between attempts. Thread-safe."""

    def __init__(self, target: Target, clock: Callable[[], float], rng: "random.Random") -> None:
        self.target = target
        self.loops = LoopBuffer()
        self.caller = Caller(target, clock, rng)
        self._clock = clock
        self._model: Model | None = None
        self._digests: frozenset[str] = frozenset()
        self._model_changed = False
        self._look_again_at = 0.0

    def register(self, timeout_s: float) -> Steps[None]:
        """Exchanges the application token. Raises: Unauthenticated, NotFound, Unavailable, DeadlineExceeded."""
        yield from self.caller.register(self._clock() + timeout_s)

    def infer(self, inputs: object, timeout_s: float, step: SequenceStep | None = None) -> Steps[Answer]:
        """One answer within `timeout_s`. Raises: MeshError; Invalid before anything is sent where inputs do not fit."""
        started = self._clock()
        deadline = started + timeout_s
        yield from self.caller.keep_access(deadline)
        model = yield from self._current_model(deadline)
        try:
            reply = yield from self._ask(model, inputs, step, deadline)
        except Invalid as error:
            newer = yield from self._other_model(model, deadline)
            if newer is None:
                raise error from None
            reply = yield from self._ask(newer, inputs, step, deadline)
        return self._answer(reply, started)

    def signature(self, timeout_s: float) -> Steps[Signature]:
        """What the model takes and gives, asked anew."""
        deadline = self._clock() + timeout_s
        yield from self.caller.keep_access(deadline)
        model = yield from self._fetch_model(deadline)
        return model.signature

    def report(self, timeout_s: float) -> Steps[bool]:
        """Sends one batch of loops that ended. Returns whether it got through and more are waiting; never raises."""
        taken = self.loops.take()
        if not taken:
            return False
        request = access_pb2.ReportLoopsRequest(
            position=self.target.position, client=self.target.client, loops=[record.to_proto() for record in taken]
        )
        try:
            yield from self.caller.call(REPORT_LOOPS, request, self._clock() + timeout_s)
        except MeshError as error:
            if _retry.fate(error) is _retry.Fate.NOT_EXECUTED:
                self.loops.put_back(taken)
            return False
        self.loops.confirm(taken)
        return self.loops.count().pending > 0

    def _current_model(self, deadline: float) -> Steps[Model]:
        model, now = self._model, self._clock()
        if model is None:
            return (yield from self._fetch_model(deadline))
        if not self._model_changed or now < self._look_again_at:
            return model
        self._look_again_at = now + SIGNATURE_PACE_S
        try:
            return (yield from self._fetch_model(now + (deadline - now) * SIGNATURE_SHARE))
        except MeshError:
            return model

    def _other_model(self, model: Model, deadline: float) -> Steps[Model | None]:
        """What the position has now, if it takes other inputs than `model`."""
        try:
            newer = yield from self._fetch_model(deadline)
        except MeshError:
            return None
        return newer if newer.signature != model.signature else None

    def _fetch_model(self, deadline: float) -> Steps[Model]:
        request = inference_pb2.ModelMetadataRequest(name=self.caller.granted.model)
        reply = yield from self.caller.call(MODEL_METADATA, request, deadline)
        model = Model(_signature(reply.message), reply.headers.get("waypost-model-digest", ""))
        self._model = model
        self._model_changed = False
        if self._digests and model.digest not in self._digests:
            self.caller.doubt()
        known = self._digests if len(self._digests) < DIGESTS_KNOWN_MAX else frozenset[str]()
        self._digests = known | {model.digest}
        return model

    def _ask(self, model: Model, inputs: object, step: SequenceStep | None, deadline: float) -> Steps[Reply]:
        request = _infer_request(self.caller.granted.model, model.signature, inputs)
        if step is not None:
            step.put_into(request)
        return (yield from self.caller.call(MODEL_INFER, request, deadline))

    def _answer(self, reply: Reply, started: float) -> Answer:
        message: inference_pb2.ModelInferResponse = reply.message
        digest = reply.headers.get("waypost-model-digest", "")
        if digest and digest not in self._digests:
            self._model_changed = True
        generation = reply.headers.get("waypost-position-generation", "")
        return Answer(
            outputs=_outputs(message),
            model_version=reply.headers.get("waypost-model-version", message.model_version),
            digest=digest,
            generation=int(generation) if generation.isdecimal() else 0,
            replica=reply.headers.get("waypost-replica", ""),
            latency_s=self._clock() - started,
        )


def _infer_request(model: str, signature: Signature, inputs: object) -> inference_pb2.ModelInferRequest:
    request = inference_pb2.ModelInferRequest(model_name=model)
    for spec, array in arrange(inputs, signature):
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        request.raw_input_contents.append(to_raw(array, spec.datatype))
    return request


def _outputs(message: inference_pb2.ModelInferResponse) -> dict[str, Array]:
    if len(message.outputs) != len(message.raw_output_contents):
        raise DataLoss("BAD_ANSWER", f"{len(message.outputs)} outputs, {len(message.raw_output_contents)} tensors")
    return {
        output.name: from_raw(raw, output.datatype, output.shape)
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    }


def _signature(message: inference_pb2.ModelMetadataResponse) -> Signature:
    inputs = tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in message.inputs)
    outputs = tuple(TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in message.outputs)
    return Signature(inputs, outputs)
