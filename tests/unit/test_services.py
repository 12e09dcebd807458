"""A method that a contract declares and no code answers: callers would only hear UNIMPLEMENTED.

The generated bases answer so for every method, which is right for bases; a servicer of ours overrides all of them.
Hosts answer their services from a table of methods instead (inference_host/transport/methods.py), whichever front end
reads it.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

import waypost.api
from inference_host.faces import access_by_hand, xapp_grpc
from inference_host.serving.dataplane import DataPlane
from inference_host.transport.methods import Method
from tests.docs.syntax import called, calls
from tests.unit.inference_host.callers import OPEN, with_plane
from waypost.api.xapp.v1 import access_pb2, inference_pb2

SERVERS = {
    "control_plane": "control_plane.assembly",
    "edge_agent": "edge_agent.app",
    "position_monitor": "position_monitor.app",
    "training_platform": "training_platform.service",
}
"""Package -> a module that imports all of its servicers."""
ELSEWHERE = {"GRPCInferenceServiceServicer", "InferenceServiceServicer"}
"""Of hosts: see their tables below."""

BY_HAND_NEVER = {"Resolve", "WatchEndpoints"}
"""Where replicas are, which only a monitor knows: a host that was started by hand stands in for none."""


def bases() -> Iterator[type]:
    for found in pkgutil.walk_packages(waypost.api.__path__, "waypost.api."):
        if found.name.endswith("_pb2_grpc"):
            module = importlib.import_module(found.name)
            yield from (kind for name, kind in vars(module).items() if name.endswith("Servicer"))


def servicers(base: type) -> list[type]:
    """Classes of ours that stand on a generated base and that nothing of ours stands on."""
    for module in SERVERS.values():
        importlib.import_module(module)
    below = [each for kind in base.__subclasses__() for each in (servicers(kind) or [kind])]
    return [kind for kind in below if kind.__module__.partition(".")[0] in SERVERS]


@pytest.mark.parametrize("base", [base for base in bases() if base.__name__ not in ELSEWHERE], ids=lambda b: b.__name__)
def test_every_declared_method_is_answered(base: type) -> None:
    methods = [name for name in vars(base) if not name.startswith("_")]
    assert methods
    found = servicers(base)
    assert found, f"nobody serves {base.__name__}"
    for kind in found:
        assert [name for name in methods if getattr(kind, name) is getattr(base, name)] == [], kind


@pytest.mark.parametrize("base", [base for base in bases() if base.__name__ not in ELSEWHERE], ids=lambda b: b.__name__)
def test_every_servicer_is_given_to_a_server(base: type) -> None:
    serving = {called(call) for _, call in calls((f"add_{base.__name__}_to_server",), *SERVERS)}
    assert serving, f"{base.__name__} is written and served nowhere"


def paths(methods: Sequence[Method]) -> set[str]:
    return {method.path for method in methods}


def declared(service: Any, *, but: Collection[str] = ()) -> set[str]:
    assert set(but) <= set(service.methods_by_name)
    return {f"/{service.full_name}/{name}" for name in service.methods_by_name if name not in but}


def test_every_method_of_ours_is_in_a_hosts_table() -> None:
    """Those of the Open Inference Protocol: tests/unit/inference_host/faces/test_oip_grpc.py."""

    async def ours(plane: DataPlane, tasks: asyncio.TaskGroup) -> list[set[str]]:
        faces = (xapp_grpc.Face(plane, OPEN), access_by_hand.Face(plane))
        return [paths(face.methods()) for face in faces]

    inference, access = with_plane(ours)
    assert inference == declared(inference_pb2.DESCRIPTOR.services_by_name["InferenceService"])
    assert access == declared(access_pb2.DESCRIPTOR.services_by_name["AccessService"], but=BY_HAND_NEVER)
