"""Every method of every service in `protos/`, found there, and which of our servers answers it."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import waypost.api

SERVED_BY = {
    "waypost.api.control.v1.": "api",
    "waypost.api.link.v1.EnrolmentService": "api",
    "waypost.api.link.v1.AgentLinkService": "link",
    "waypost.api.link.v1.ArtifactSourceService": "link",
    "waypost.api.link.v1.PeerService": "link",
    "waypost.api.link.v1.MonitorLinkService": "agent",
    "waypost.api.edge.v1.": "box",
    "waypost.api.link.v1.HostLinkService": "monitor",
    "waypost.api.xapp.v1.AccessService": "monitor",
    "waypost.api.xapp.v1.InferenceService": "host",
    "waypost.api.inference.v1.": "host",
    "waypost.api.training.v1.": "training",
}
"""Beginning of a service's full name -> name of a server of `world`."""

SERVED_AS = {"waypost.api.inference.v1.GRPCInferenceService": "inference.GRPCInferenceService"}
"""Where clients know a service by another name than that of our proto."""


@dataclass(frozen=True)
class Method:
    descriptor: Any

    @property
    def path(self) -> str:
        service = self.descriptor.containing_service.full_name
        return f"/{SERVED_AS.get(service, service)}/{self.descriptor.name}"

    @property
    def server(self) -> str:
        service = self.descriptor.containing_service.full_name
        (server,) = (server for beginning, server in SERVED_BY.items() if service.startswith(beginning))
        return server

    @property
    def streams(self) -> bool:
        return bool(self.descriptor.client_streaming or self.descriptor.server_streaming)


def _all() -> Iterator[Method]:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(waypost.api.__path__, f"{waypost.api.__name__}.")
        if found.name.endswith("_pb2")
    ]
    for file in {module.DESCRIPTOR.name: module.DESCRIPTOR for module in modules}.values():
        for service in file.services_by_name.values():
            yield from map(Method, service.methods)


METHODS = sorted(_all(), key=lambda method: (method.server == "box", method.path))
"""What may drain the edge server comes last."""
