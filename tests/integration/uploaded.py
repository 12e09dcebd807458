"""Versions of a tiny model, brought to a platform by hand, checked by it and ready to be deployed."""

from pathlib import Path

from console import upload
from console.client import Client
from console.contexts import Context
from console.kinds import APPLICATION, MODEL, PROJECT, VERSION, Resources
from tests import models
from tests.waiting import wait_until
from waypost import names
from waypost.api.control.v1.model_pb2 import MODEL_VERSION_STATE_AVAILABLE, CreateModelVersionRequest, ModelVersion


def make_versions(context: Context, directory: Path, application: str, count: int) -> list[str]:
    """Makes the application (full name) with its project, and so many versions; their full names."""
    model = f"{application}/models/affine"
    with Client(context) as client:
        resources = Resources(client)
        resources.create(PROJECT, PROJECT.new(names.parent(application)))
        resources.create(APPLICATION, APPLICATION.new(application))
        resources.create(MODEL, MODEL.new(model))
        return [_version(client, directory, model, number) for number in range(1, count + 1)]


def _version(client: Client, directory: Path, model: str, number: int) -> str:
    file = models.affine(directory / f"{number}.onnx", scale=float(number))
    version = ModelVersion(framework="onnx", idempotent=True)
    for artifact, path in upload.artifacts_of(file):
        upload.upload(client, artifact, path)
        version.artifacts.append(artifact)
    request = CreateModelVersionRequest(parent=model, model_version_id=str(number), model_version=version)
    name: str = client.call(client.models.CreateModelVersion, request).model_version.name
    wait_until(
        lambda: Resources(client).get(VERSION, name),
        lambda found: found.state == MODEL_VERSION_STATE_AVAILABLE,
        what=f"{name} is imported",
        every_s=0.1,
    )
    return name
