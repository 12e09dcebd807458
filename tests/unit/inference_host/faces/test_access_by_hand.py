"""A host by hand stands in for a position's monitor, so that the SDK can call it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from inference_host.faces.access_by_hand import Face
from inference_host.serving.served import Served
from tests.unit.inference_host.callers import Told, ask, with_plane
from tests.unit.inference_host.planes import BY_HAND, served
from waypost.api.xapp.v1 import access_pb2 as pb
from waypost.errors import NotFound

SEVERAL = [served(name="forecast"), served(name="quality")]


def as_graph(model: Served) -> Served:
    """As if it had been loaded from ONNX."""
    assert model.warm is not None
    package = replace(model.package, template_class="")
    return Served(package, model.life, replace(model.warm, loaded=replace(model.warm.loaded, package=package)))


def answer(name: str, request: Message, model: Served | Sequence[Served] | None = None) -> Told:
    told: Told = with_plane(lambda plane, tasks: ask(Face(plane).methods(), name, request), model, BY_HAND)
    return told


def registered(position: str, model: Served | Sequence[Served] | None = None) -> pb.RegisterResponse:
    return pb.RegisterResponse.FromString(answer("Register", pb.RegisterRequest(position=position), model).message)


def test_whatever_position_is_meant_the_only_model_answers() -> None:
    for position in ("", "projects/uav/applications/path/positions/tower-7"):
        granted = registered(position)
        assert (granted.model, granted.idempotent) == ("forecast", False)
        assert granted.access_token
        assert granted.expires_in_s > 0


def test_of_several_models_the_last_part_of_the_name_says_which() -> None:
    assert registered("projects/local/applications/host/positions/quality", SEVERAL).model == "quality"
    error = answer("Register", pb.RegisterRequest(position="projects/a/applications/b/positions/c"), SEVERAL).error
    assert isinstance(error, NotFound)
    assert "forecast, quality" in error.hint


def test_a_graph_may_be_asked_twice_and_somebodys_code_may_not() -> None:
    models = [as_graph(served(name="forecast")), served(name="quality")]
    for name, idempotent in (("forecast", True), ("quality", False)):
        position = f"projects/local/applications/host/positions/{name}"
        renewed = pb.RenewResponse.FromString(answer("Renew", pb.RenewRequest(position=position), models).message)
        assert (registered(position, models).idempotent, renewed.idempotent) == (idempotent, idempotent)
    elsewhere = pb.RenewRequest(position="projects/a/applications/b/positions/c")
    assert isinstance(answer("Renew", elsewhere, models).error, NotFound)


def test_loops_are_heard_and_forgotten() -> None:
    report: Any = pb.ReportLoopsRequest(loops=[pb.LoopReport(duration_ms=1.0)] * 3)
    assert pb.ReportLoopsResponse.FromString(answer("ReportLoops", report).message).accepted == 3
    assert pb.RenewResponse.FromString(answer("Renew", pb.RenewRequest()).message).access_token
