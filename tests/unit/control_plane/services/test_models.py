"""Model versions brought by hand."""

from typing import Any

import pytest

from tests.unit.control_plane.services.api import APPLICATION, MODEL, VERSION, Api, with_api
from waypost.api.control.v1 import model_pb2 as pb
from waypost.errors import AlreadyExists, Invalid, MeshError, Precondition

DIGEST = "sha256:" + "0" * 64


def request(version_id: str = "1", **changes: Any) -> pb.CreateModelVersionRequest:
    version = {
        "framework": "onnx",
        "artifacts": [{"path": "model.onnx", "digest": DIGEST, "size_bytes": 7}],
        **changes,
    }
    return pb.CreateModelVersionRequest(parent=MODEL, model_version_id=version_id, model_version=version)  # type: ignore[arg-type]


async def prepare(api: Api) -> None:
    await api.make_application()
    await api.model.CreateModel(pb.CreateModelRequest(parent=APPLICATION, model_id="gru"))
    api.artifacts.stored[DIGEST] = 7


@with_api
async def test_a_version_begins_as_importing_with_the_digest_of_its_files(api: Api) -> None:
    await prepare(api)
    made = (await api.model.CreateModelVersion(request("2024.1_RC-2", metrics={"mae": 0.5}))).model_version
    assert made.state == pb.MODEL_VERSION_STATE_IMPORTING
    assert made.digest.startswith("sha256:")
    assert made.metrics["mae"] == 0.5
    listed = (await api.model.ListModelVersions(pb.ListModelVersionsRequest(parent=MODEL))).model_versions
    assert list(listed) == [made]
    assert (await api.model.GetModelVersion(pb.GetModelVersionRequest(name=made.name))).model_version == made


@with_api
async def test_artifacts_must_have_been_uploaded(api: Api) -> None:
    await prepare(api)
    api.artifacts.stored.clear()
    with pytest.raises(Precondition) as refused:
        await api.model.CreateModelVersion(request())
    assert refused.value.reason == "ARTIFACT_MISSING"


@with_api
async def test_a_version_that_makes_no_sense_is_refused(api: Api) -> None:
    await prepare(api)
    artifact = {"path": "model.onnx", "digest": DIGEST, "size_bytes": 7}
    for changes in (
        {"framework": "tensorflow"},
        {"framework": "template"},
        {"framework": "template", "template_class": "no colon"},
        {"template_class": "module:Class"},
        {"keeps_state": True},
        {"framework": "template", "template_class": "module:Class", "keeps_state": True, "idempotent": True},
        {"artifacts": []},
        {"artifacts": [artifact, artifact]},
        {"artifacts": [{**artifact, "path": "../up"}]},
        {"artifacts": [{**artifact, "digest": "md5:1"}]},
        {"artifacts": [{**artifact, "size_bytes": 8}]},
        {"signature": {"inputs": [{"name": "", "datatype": "FP32"}]}},
        {"signature": {"inputs": [{"name": "x", "datatype": "FLOAT"}]}},
        {"signature": {"outputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}},
        {"signature": {"outputs": [{"name": "x", "datatype": "FP32"}, {"name": "x", "datatype": "FP32"}]}},
        {"labels": {"": "x"}},
        {"labels": {"x": "y" * 64}},
        {"description": "x" * 5000},
        {"metrics": {"": 1.0}},
    ):
        with pytest.raises(Invalid):
            raise AssertionError(await api.model.CreateModelVersion(request(**changes)))


@with_api
async def test_a_version_is_never_changed_but_for_its_labels(api: Api) -> None:
    await prepare(api)
    made = (await api.model.CreateModelVersion(request())).model_version
    with pytest.raises(AlreadyExists):
        await api.model.CreateModelVersion(request())

    async def change(mask: list[str], **fields: Any) -> pb.ModelVersion:
        version = pb.ModelVersion(name=VERSION, **fields)
        asked = pb.UpdateModelVersionRequest(model_version=version, update_mask={"paths": mask})
        changed: pb.ModelVersion = (await api.model.UpdateModelVersion(asked)).model_version
        return changed

    labelled = await change([], labels={"stage": "canary"})
    assert (dict(labelled.labels), labelled.digest) == ({"stage": "canary"}, made.digest)
    for path in ("framework", "artifacts", "state", "description", "idempotent", "keeps_state"):
        with pytest.raises(Invalid):
            await change([path])


@with_api
async def test_bad_version_names_are_refused(api: Api) -> None:
    await prepare(api)
    for version_id in ("", "-", "a/b", "x" * 64, ".", "ä"):
        with pytest.raises(MeshError) as refused:
            await api.model.CreateModelVersion(request(version_id))
        assert refused.value.metadata["field"] == "model_version_id"
