# ruff: noqa: N802  methods are named by the proto
"""control.v1.ApplicationService."""

from functools import partial
from typing import Any

from control_plane.domain.check import check_id, full_name
from control_plane.services.families import APPLICATIONS
from control_plane.services.kit import Kit
from control_plane.services.listing import list_page, listing
from control_plane.services.writing import create, delete, first_below, names_below, update_or_create
from control_plane.store.resources import APPLICATION, CREDENTIAL, MODEL, POSITION, PROJECT
from waypost.api.control.v1 import application_pb2 as pb
from waypost.api.control.v1 import application_pb2_grpc as rpc


class ApplicationService(rpc.ApplicationServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetApplication(self, request: pb.GetApplicationRequest, context: Any) -> pb.GetApplicationResponse:
        found = await self._kit.resources.get(APPLICATION, full_name(request.name, "applications", "name"))
        return pb.GetApplicationResponse(application=found.message)

    async def ListApplications(self, request: pb.ListApplicationsRequest, context: Any) -> pb.ListApplicationsResponse:
        wanted = listing(request.parent, "projects", "applications")
        found, token = await list_page(self._kit, APPLICATION, wanted, request, parent_kind=PROJECT)
        return pb.ListApplicationsResponse(applications=found, next_page_token=token)

    async def CreateApplication(
        self, request: pb.CreateApplicationRequest, context: Any
    ) -> pb.CreateApplicationResponse:
        parent = full_name(request.parent, "projects", "parent")
        check_id(request.application_id, "applications", "application_id")
        name = f"{parent}/applications/{request.application_id}"
        application = await create(self._kit, APPLICATIONS, request.application, name)
        return pb.CreateApplicationResponse(application=application)

    async def UpdateApplication(
        self, request: pb.UpdateApplicationRequest, context: Any
    ) -> pb.UpdateApplicationResponse:
        full_name(request.application.name, "applications", "application.name")
        application = await update_or_create(self._kit, APPLICATIONS, request.application, request)
        return pb.UpdateApplicationResponse(application=application)

    async def DeleteApplication(
        self, request: pb.DeleteApplicationRequest, context: Any
    ) -> pb.DeleteApplicationResponse:
        name = full_name(request.name, "applications", "name")
        await delete(
            self._kit,
            APPLICATIONS,
            name,
            request.etag,
            blockers=partial(first_below, self._kit, name, POSITION, MODEL),
            along=partial(names_below, self._kit, name, CREDENTIAL),
        )
        return pb.DeleteApplicationResponse()
