# ruff: noqa: N802  methods are named by the proto
"""control.v1.ProjectService."""

from functools import partial
from typing import Any

from control_plane.domain.check import check_id, full_name
from control_plane.services.families import PROJECTS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.role_binding import bindings_of
from control_plane.services.statuses import with_project_status
from control_plane.services.writing import create, delete, first_below, names_below, update_or_create
from control_plane.store.resources import APPLICATION, CREDENTIAL, PROJECT, ROLE_BINDING, used_name
from waypost.api.control.v1 import project_pb2 as pb
from waypost.api.control.v1 import project_pb2_grpc as rpc


class ProjectService(rpc.ProjectServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        found = await self._kit.resources.get(PROJECT, full_name(request.name, "projects", "name"))
        return pb.GetProjectResponse(project=await self._shown(found.message))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        wanted = Listing("", "projects")
        found, token = await list_page(self._kit, PROJECT, wanted, request)
        shown = await with_project_status(self._kit, found)
        return pb.ListProjectsResponse(projects=shown, next_page_token=token)

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        check_id(request.project_id, "projects", "project_id")
        project = await create(self._kit, PROJECTS, request.project, f"projects/{request.project_id}")
        return pb.CreateProjectResponse(project=await self._shown(project))

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        full_name(request.project.name, "projects", "project.name")
        project = await update_or_create(self._kit, PROJECTS, request.project, request)
        return pb.UpdateProjectResponse(project=await self._shown(project))

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> pb.DeleteProjectResponse:
        name = full_name(request.name, "projects", "name")
        below = partial(first_below, self._kit, name, APPLICATION)
        along = partial(self._goes_along, name)
        await delete(self._kit, PROJECTS, name, request.etag, blockers=below, along=along)
        return pb.DeleteProjectResponse()

    async def _shown(self, project: pb.Project) -> pb.Project:
        return (await with_project_status(self._kit, [project]))[0]

    async def _goes_along(self, project: str) -> list[str]:
        """Its tokens for the API, what was granted to them anywhere, what was granted to anybody in it, its usage."""
        tokens = await names_below(self._kit, project, CREDENTIAL)
        granted = await bindings_of(self._kit, set(tokens))
        within = await names_below(self._kit, project, ROLE_BINDING)
        return [*dict.fromkeys([*tokens, *granted, *within, used_name(project)])]
