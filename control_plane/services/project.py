# ruff: noqa: N802  methods are named by the proto
"""control.v1.ProjectService."""

from functools import partial
from typing import Any

from control_plane.domain.check import check_id, full_name
from control_plane.services.families import PROJECTS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.role_binding import bindings_of
from control_plane.services.writing import create, delete, first_below, names_below, update_or_create
from control_plane.store.resources import APPLICATION, CREDENTIAL, PROJECT, ROLE_BINDING
from waypost.api.control.v1 import project_pb2 as pb
from waypost.api.control.v1 import project_pb2_grpc as rpc


class ProjectService(rpc.ProjectServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        found = await self._kit.resources.get(PROJECT, full_name(request.name, "projects", "name"))
        return pb.GetProjectResponse(project=found.message)

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        wanted = Listing("", "projects")
        found, token = await list_page(self._kit, PROJECT, wanted, request)
        return pb.ListProjectsResponse(projects=found, next_page_token=token)

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        check_id(request.project_id, "projects", "project_id")
        project = await create(self._kit, PROJECTS, request.project, f"projects/{request.project_id}")
        return pb.CreateProjectResponse(project=project)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        full_name(request.project.name, "projects", "project.name")
        project = await update_or_create(self._kit, PROJECTS, request.project, request)
        return pb.UpdateProjectResponse(project=project)

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> pb.DeleteProjectResponse:
        name = full_name(request.name, "projects", "name")
        below = partial(first_below, self._kit, name, APPLICATION)
        along = partial(self._tokens_and_grants, name)
        await delete(self._kit, PROJECTS, name, request.etag, blockers=below, along=along)
        return pb.DeleteProjectResponse()

    async def _tokens_and_grants(self, project: str) -> list[str]:
        """Its tokens for the API, what was granted to them anywhere, and what was granted to anybody in it."""
        tokens = await names_below(self._kit, project, CREDENTIAL)
        granted = await bindings_of(self._kit, set(tokens))
        return [*dict.fromkeys([*tokens, *granted, *await names_below(self._kit, project, ROLE_BINDING)])]
