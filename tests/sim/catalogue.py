"""What stands in the store before anything happens: one application, its model's versions, the edge servers."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control_plane.store.base import Put
from control_plane.store.resources import APPLICATION as APPLICATIONS
from control_plane.store.resources import EDGE_SERVER, MODEL, MODEL_VERSION, PROJECT
from mesh.packages import version_digest
from waypost.api.control.v1.application_pb2 import Application
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    Artifact,
    Model,
    ModelVersion,
    Signature,
    TensorSpec,
)
from waypost.api.control.v1.project_pb2 import Project

APPLICATION = "projects/p/applications/a"
VERSIONS = 5


@dataclass(frozen=True)
class Catalogue:
    versions: Mapping[str, ModelVersion]
    """By name; the last one is still being imported."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """Artifacts by digest."""

    @classmethod
    def made(cls) -> "Catalogue":
        contents: dict[str, bytes] = {}
        versions = [_version(number, contents) for number in range(1, VERSIONS + 1)]
        return cls({version.name: version for version in versions}, contents)

    def records(self, edge_servers: Iterable[str]) -> list[Put]:
        model = f"{APPLICATION}/models/m"
        return [
            PROJECT.encode("projects/p", Project(name="projects/p", uid="p")),
            APPLICATIONS.encode(APPLICATION, Application(name=APPLICATION, uid="a")),
            MODEL.encode(model, Model(name=model, uid="m")),
            *(MODEL_VERSION.encode(name, version) for name, version in self.versions.items()),
            *(EDGE_SERVER.encode(name, EdgeServer(name=name, uid=name)) for name in edge_servers),
        ]


def _version(number: int, contents: dict[str, bytes]) -> ModelVersion:
    content = f"model number {number}".encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    contents[digest] = content
    version = ModelVersion(
        name=f"{APPLICATION}/models/m/versions/{number}",
        artifacts=[Artifact(path="model.onnx", digest=digest, size_bytes=len(content))],
        signature=Signature(inputs=[TensorSpec(name="x", datatype="FP32", shape=[-1, 3])]),
        state=MODEL_VERSION_STATE_IMPORTING if number == VERSIONS else MODEL_VERSION_STATE_AVAILABLE,
    )
    version.digest = version_digest(version.artifacts)
    return version
