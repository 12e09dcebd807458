# ruff: noqa: N802  methods are named by the proto
"""control.v1.ModelService: models and their versions."""

from functools import partial
from typing import Any, Protocol

from control_plane.domain.check import check_id, full_name
from control_plane.registry.versions import check_files
from control_plane.services.families import MODEL_VERSIONS, MODELS
from control_plane.services.kit import Kit
from control_plane.services.listing import list_page, listing
from control_plane.services.writing import Guards, create, delete, first_below, is_owned, update, update_or_create
from control_plane.store.resources import APPLICATION, MODEL, MODEL_VERSION, POSITION
from mesh.packages import version_digest
from waypost import names
from waypost.api.control.v1 import model_pb2 as pb
from waypost.api.control.v1 import model_pb2_grpc as rpc
from waypost.errors import Invalid, NotFound, Precondition


class Artifacts(Protocol):
    """What of the artifact store is needed here."""

    async def size_bytes(self, digest: str) -> int:
        """Raises NotFound where no control plane has it."""


class ModelService(rpc.ModelServiceServicer):
    def __init__(self, kit: Kit, artifacts: Artifacts) -> None:
        self._kit = kit
        self._artifacts = artifacts

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        found = await self._kit.resources.get(MODEL, full_name(request.name, "models", "name"))
        return pb.GetModelResponse(model=found.message)

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        wanted = listing(request.parent, "applications", "models")
        found, token = await list_page(self._kit, MODEL, wanted, request, parent_kind=APPLICATION)
        return pb.ListModelsResponse(models=found, next_page_token=token)

    async def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> pb.CreateModelResponse:
        parent = full_name(request.parent, "applications", "parent")
        check_id(request.model_id, "models", "model_id")
        model = await create(self._kit, MODELS, request.model, f"{parent}/models/{request.model_id}")
        return pb.CreateModelResponse(model=model)

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Any) -> pb.UpdateModelResponse:
        full_name(request.model.name, "models", "model.name")
        model = await update_or_create(self._kit, MODELS, request.model, request)
        return pb.UpdateModelResponse(model=model)

    async def DeleteModel(self, request: pb.DeleteModelRequest, context: Any) -> pb.DeleteModelResponse:
        name = full_name(request.name, "models", "name")
        below = partial(first_below, self._kit, name, MODEL_VERSION)
        await delete(self._kit, MODELS, name, request.etag, blockers=below)
        return pb.DeleteModelResponse()

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Any) -> pb.GetModelVersionResponse:
        found = await self._kit.resources.get(MODEL_VERSION, full_name(request.name, "versions", "name"))
        return pb.GetModelVersionResponse(model_version=found.message)

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Any
    ) -> pb.ListModelVersionsResponse:
        wanted = listing(request.parent, "models", "versions")
        found, token = await list_page(self._kit, MODEL_VERSION, wanted, request, parent_kind=MODEL)
        return pb.ListModelVersionsResponse(model_versions=found, next_page_token=token)

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: Any
    ) -> pb.CreateModelVersionResponse:
        parent = full_name(request.parent, "models", "parent")
        check_id(request.model_version_id, "versions", "model_version_id")
        asked = request.model_version
        check_files(asked)
        await self._check_uploaded(asked)
        name = f"{parent}/versions/{request.model_version_id}"
        created = await create(self._kit, MODEL_VERSIONS, asked, name, made=self._begin_import, guard=self._guard_model)
        return pb.CreateModelVersionResponse(model_version=created)

    async def UpdateModelVersion(
        self, request: pb.UpdateModelVersionRequest, context: Any
    ) -> pb.UpdateModelVersionResponse:
        full_name(request.model_version.name, "versions", "model_version.name")
        _, version = await update(self._kit, MODEL_VERSIONS, request.model_version, request.update_mask.paths)
        return pb.UpdateModelVersionResponse(model_version=version)

    async def DeleteModelVersion(
        self, request: pb.DeleteModelVersionRequest, context: Any
    ) -> pb.DeleteModelVersionResponse:
        name = full_name(request.name, "versions", "name")
        await delete(self._kit, MODEL_VERSIONS, name, request.etag, blockers=partial(self._position_with, name))
        return pb.DeleteModelVersionResponse()

    def _begin_import(self, version: pb.ModelVersion) -> None:
        version.state = pb.MODEL_VERSION_STATE_IMPORTING
        version.digest = version_digest(version.artifacts)
        version.publish_time.CopyFrom(self._kit.timestamp())

    async def _check_uploaded(self, version: pb.ModelVersion) -> None:
        for index, artifact in enumerate(version.artifacts):
            try:
                size = await self._artifacts.size_bytes(artifact.digest)
            except NotFound as error:
                raise Precondition(
                    "ARTIFACT_MISSING",
                    f"artifact {artifact.path!r} ({artifact.digest}) has not been uploaded",
                    "upload it with ArtifactService.WriteArtifact first",
                    digest=artifact.digest,
                ) from error
            if size != artifact.size_bytes:
                field = f"model_version.artifacts[{index}].size_bytes"
                raise Invalid("INVALID_FIELD", f"{field} is {artifact.size_bytes}, the file has {size}", field=field)

    async def _guard_model(self, version: pb.ModelVersion) -> Guards:
        """A model that a source fills takes no versions from elsewhere."""
        model = await self._kit.resources.get(MODEL, names.parent(version.name))
        if await is_owned(self._kit, model.message):
            raise Precondition(
                "OWNED_BY_SUBSCRIPTION",
                f"model {names.short(model.message.name)!r} is filled by {model.message.subscription}",
                "publish the version there, or create a model of your own",
                name=model.message.name,
            )
        return Guards({model.message.name: model.revision})

    async def _position_with(self, name: str) -> str:
        """A position of the application that names the version."""
        application = names.parent(names.parent(name))
        async for position in self._kit.resources.all(POSITION, f"{application}/positions/"):
            if position.message.spec.model_version == name:
                return position.message.name
        return ""
