# ruff: noqa: N802  methods are named by the proto
"""control.v1.ProjectService."""

from typing import Any

from control_plane.domain.check import check_id, full_name
from control_plane.services.families import PROJECTS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.writing import create, delete, first_below, update
from control_plane.store.resources import APPLICATION, PROJECT
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
        found, token = await list_page(self._kit, PROJECT, wanted, size=request.page_size, token=request.page_token)
        return pb.ListProjectsResponse(projects=found, next_page_token=token)

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        check_id(request.project_id, "projects", "project_id")
        project = await self._create(request.project, f"projects/{request.project_id}")
        return pb.CreateProjectResponse(project=project)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        name = full_name(request.project.name, "projects", "project.name")
        if request.allow_missing and await self._kit.resources.find(PROJECT, name) is None:
            return pb.UpdateProjectResponse(project=await self._create(request.project, name))
        project = await update(self._kit, PROJECTS, request.project, request.update_mask.paths)
        return pb.UpdateProjectResponse(project=project)

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> pb.DeleteProjectResponse:
        name = full_name(request.name, "projects", "name")
        await delete(
            self._kit,
            PROJECTS,
            name,
            request.etag,
            blockers=lambda: first_below(self._kit, name, APPLICATION),
        )
        return pb.DeleteProjectResponse()

    async def _create(self, asked: pb.Project, name: str) -> pb.Project:
        return await create(self._kit, PROJECTS, asked, name)
