"""Inference in plain values, for callers that have nothing but JSON."""

from typing import Any

import pytest

from inference_host.faces.xapp_grpc import ID_CHARS_MAX, Face
from inference_host.values.calls import Facts
from tests.unit.inference_host.callers import OPEN, Told, ask, with_plane
from tests.unit.inference_host.planes import BY_HAND, FULL_NAME, PLACE, served
from waypost import names
from waypost.api.xapp.v1.inference_pb2 import InferRequest, InferResponse, Tensor
from waypost.errors import Invalid


def answer(request: InferRequest, **world: Any) -> Told:
    told: Told = with_plane(lambda plane, tasks: ask(Face(plane, OPEN).methods(), "Infer", request), **world)
    return told


def infer(**fields: Any) -> InferRequest:
    return InferRequest(id="7", inputs=[Tensor(numbers=[1, 2])], **fields)


def test_numbers_alone_are_enough() -> None:
    told = answer(infer())
    response = InferResponse.FromString(told.message)
    assert (response.id, response.model_version, response.digest) == ("7", FULL_NAME, "sha256:ff")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape), list(output.numbers)) == ("y", "FP32", [1, 2], [2.0, 4.0])
    trailers: Facts = tuple(told.trailers)
    assert [name for name, _ in trailers][-1] == "server-timing"


@pytest.mark.parametrize("position", ["uid-1", PLACE.position, names.short(PLACE.position)])
def test_a_position_may_be_named_by_whoever_has_arrived_there(position: str) -> None:
    assert answer(infer(position=position)).error is None


@pytest.mark.parametrize(
    ("request_message", "reason"),
    [
        (infer(position="elsewhere"), "WRONG_POSITION"),
        (InferRequest(id="i" * (ID_CHARS_MAX + 1)), "BAD_ID"),
        (InferRequest(inputs=[Tensor(name="z", numbers=[1])]), "UNKNOWN_INPUT"),
        (InferRequest(inputs=[Tensor(strings=["a"])]), "BAD_DATA"),
        (InferRequest(inputs=[Tensor(numbers=[1, 2, 3])]), "BAD_DATA"),
        (InferRequest(), "MISSING_INPUT"),
    ],
)
def test_what_does_not_fit_is_told(request_message: InferRequest, reason: str) -> None:
    error = answer(request_message).error
    assert isinstance(error, Invalid)
    assert error.reason == reason


def test_a_host_by_hand_is_no_position() -> None:
    assert answer(infer(position="tower-7"), place=BY_HAND).error is not None


def test_a_host_with_several_models_cannot_tell_which_is_meant() -> None:
    error = answer(infer(), model=[served(), served(name="other")], place=BY_HAND).error
    assert error is not None
    assert error.reason == "SEVERAL_MODELS"
