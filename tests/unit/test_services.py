"""A method that a contract declares and no code answers: callers would only hear UNIMPLEMENTED.

The generated bases answer so for every method, which is right for bases; a servicer of ours overrides all of them.
(Hosts answer their services from a table of methods instead: inference_host/methods.py.)
"""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import waypost.api

SERVERS = {
    "control_plane": "control_plane.assembly",
    "edge_agent": "edge_agent.app",
    "position_monitor": "position_monitor.app",
    "training_platform": "training_platform.service",
}
"""Package -> a module that imports all of its servicers."""
ELSEWHERE = {"GRPCInferenceServiceServicer", "InferenceServiceServicer"}


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
