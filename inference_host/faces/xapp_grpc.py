"""xapp.v1 InferenceService: inference in plain values, for callers that have nothing but JSON.

The gateway turns JSON into these messages. Names, datatypes and shapes may be left out where the model's signature
tells them; the tensors then go the same way as everybody's.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from inference_host.faces.replies import tell
from inference_host.serving.dataplane import DataPlane, Place
from inference_host.transport.auth import Gate
from inference_host.transport.methods import Caller, Method, Reply, Unary, parse
from inference_host.values.calls import SEQUENCE_END, SEQUENCE_ID, SEQUENCE_START, Answer, Call, Withdraw
from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import DTYPES, Buffer, Tensor, from_values, to_values
from waypost import names
from waypost.api.xapp.v1 import inference_pb2 as xapp
from waypost.errors import Invalid

SERVICE = "waypost.api.xapp.v1.InferenceService"
ID_CHARS_MAX = 64


class Face:
    def __init__(self, plane: DataPlane, gate: Gate) -> None:
        """gate: knows who calls."""
        self._plane = plane
        self._gate = gate

    def methods(self) -> Sequence[Method]:
        return (Method(f"/{SERVICE}/Infer", Unary(self._begin_infer, settles=True), quiet=True),)

    def _begin_infer(self, body: Buffer, caller: Caller, reply: Reply) -> Withdraw:
        arrived = self._plane.clock()
        request = parse(xapp.InferRequest, body)
        _check_position(request.position, self._plane.place)
        if len(request.id) > ID_CHARS_MAX:
            raise Invalid("BAD_ID", f"the id has {len(request.id)} characters, at most {ID_CHARS_MAX} are allowed")
        model = self._plane.only_model()
        signature = self._plane.metadata(model, "").signature
        inputs = [_input(tensor, signature) for tensor in request.inputs]
        call = Call(model, "", inputs, request.id, deadline=caller.deadline, arrived=arrived)
        if request.HasField("sequence"):
            call.parameters = _parameters(request.sequence)
            call.owner = self._gate.owner(caller.authorization)
        return self._plane.submit(call, partial(tell, reply, _encode))


def _encode(answer: Answer) -> list[bytes]:
    """Raises: Invalid(NO_JSON_FORM)."""
    facts = dict(answer.origin.facts)
    response = xapp.InferResponse(
        id=answer.id,
        outputs=map(_output, answer.outputs),
        model_version=facts["waypost-model-version"],
        digest=facts["waypost-model-digest"],
    )
    return [response.SerializeToString()]


def _check_position(said: str, place: Place) -> None:
    """A caller that says where it wants to go must have arrived there."""
    if said and said not in (place.position_uid, place.position, names.short(place.position)):
        here = f"position {place.position}" if place.position else "a host started by hand"
        raise Invalid(
            "WRONG_POSITION", f"the call is for position {said[:128]!r}, this is {here}", "leave `position` empty"
        )


def _parameters(sequence: xapp.Sequence) -> dict[str, object]:
    return {SEQUENCE_ID: sequence.id, SEQUENCE_START: sequence.start, SEQUENCE_END: sequence.end}


def _input(tensor: xapp.Tensor, signature: Signature) -> Tensor:
    spec = _spec(tensor, signature)
    datatype = tensor.datatype or spec.datatype
    values = _values(tensor, datatype)
    return from_values(spec.name, datatype, tuple(tensor.shape) or _shape(spec, len(values)), values)


def _spec(tensor: xapp.Tensor, signature: Signature) -> TensorSpec:
    if not tensor.name and len(signature.inputs) == 1:
        return signature.inputs[0]
    spec = signature.input(tensor.name)
    if spec is None:
        inputs = ", ".join(map(str, signature.inputs))
        raise Invalid("UNKNOWN_INPUT", f"the model has no input {tensor.name!r}", f"it takes {inputs}")
    return spec


def _values(tensor: xapp.Tensor, datatype: str) -> Sequence[Any]:
    """The list that fits the datatype."""
    lists: dict[str, Sequence[Any]] = {
        "strings": tensor.strings,
        "booleans": tensor.booleans,
        "numbers": tensor.numbers,
    }
    fitting = {"BYTES": "strings", "BOOL": "booleans"}.get(datatype, "numbers")
    for name, values in lists.items():
        if values and name != fitting:
            raise Invalid(
                "BAD_DATA", f"tensor {tensor.name!r} is {datatype} and has {name}", f"put the values into {fitting}"
            )
    return lists[fitting]


def _shape(spec: TensorSpec, count: int) -> tuple[int, ...]:
    """The model's own; the first size that varies follows from the number of values, further ones are 1.

    At least 1: who sends nothing at all has made a mistake, and hears so.
    """
    shape = list(spec.shape)
    varying = [axis for axis, size in enumerate(shape) if size < 0]
    for axis in varying[1:]:
        shape[axis] = 1
    if varying:
        rest = math.prod(size for size in shape if size >= 0)
        shape[varying[0]] = max(1, count // rest) if rest else 0
    return tuple(shape)


def _output(tensor: Tensor) -> xapp.Tensor:
    message = xapp.Tensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    values = to_values(tensor)
    if tensor.datatype == "BYTES":
        message.strings.extend(_texts(tensor.name, values))
    elif DTYPES[tensor.datatype].kind == "b":
        message.booleans.extend(values)
    else:
        message.numbers.extend(values)
    return message


def _texts(name: str, values: Sequence[bytes]) -> list[str]:
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError as error:
        hint = "call the model over the Open Inference Protocol"
        raise Invalid("NO_JSON_FORM", f"output {name!r} is no UTF-8 text", hint) from error
