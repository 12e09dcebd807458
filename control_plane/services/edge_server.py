# ruff: noqa: N802  methods are named by the proto
"""control.v1.EdgeServerService."""

from functools import partial
from typing import Any

from control_plane.access import caller
from control_plane.domain.check import check_id, full_name
from control_plane.events import REVOKED
from control_plane.services.families import EDGE_SERVERS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.statuses import servers_of, with_edge_server_status
from control_plane.services.writing import amend, create, delete, names_below, update_or_create
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, POSITION
from waypost.api.control.v1 import edge_server_pb2 as pb
from waypost.api.control.v1 import edge_server_pb2_grpc as rpc


class EdgeServerService(rpc.EdgeServerServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetEdgeServer(self, request: pb.GetEdgeServerRequest, context: Any) -> pb.GetEdgeServerResponse:
        found = await self._kit.resources.get(EDGE_SERVER, full_name(request.name, "edgeServers", "name"))
        return pb.GetEdgeServerResponse(edge_server=await self._shown(found.message))

    async def ListEdgeServers(self, request: pb.ListEdgeServersRequest, context: Any) -> pb.ListEdgeServersResponse:
        wanted = Listing("", "edgeServers")
        found, token = await list_page(self._kit, EDGE_SERVER, wanted, request)
        shown = await with_edge_server_status(self._kit, found)
        return pb.ListEdgeServersResponse(edge_servers=shown, next_page_token=token)

    async def CreateEdgeServer(self, request: pb.CreateEdgeServerRequest, context: Any) -> pb.CreateEdgeServerResponse:
        check_id(request.edge_server_id, "edgeServers", "edge_server_id")
        created = await create(self._kit, EDGE_SERVERS, request.edge_server, f"edgeServers/{request.edge_server_id}")
        return pb.CreateEdgeServerResponse(edge_server=await self._shown(created))

    async def UpdateEdgeServer(self, request: pb.UpdateEdgeServerRequest, context: Any) -> pb.UpdateEdgeServerResponse:
        full_name(request.edge_server.name, "edgeServers", "edge_server.name")
        updated = await update_or_create(self._kit, EDGE_SERVERS, request.edge_server, request)
        return pb.UpdateEdgeServerResponse(edge_server=await self._shown(updated))

    async def DeleteEdgeServer(self, request: pb.DeleteEdgeServerRequest, context: Any) -> pb.DeleteEdgeServerResponse:
        name = full_name(request.name, "edgeServers", "name")
        await delete(
            self._kit,
            EDGE_SERVERS,
            name,
            request.etag,
            blockers=partial(self._position_on, name),
            along=partial(names_below, self._kit, name, CREDENTIAL),
        )
        return pb.DeleteEdgeServerResponse()

    async def ConfirmDesiredState(
        self, request: pb.ConfirmDesiredStateRequest, context: Any
    ) -> pb.ConfirmDesiredStateResponse:
        name = full_name(request.name, "edgeServers", "name")
        incarnation = self._kit.stores.records.incarnation

        def confirm(edge_server: pb.EdgeServer) -> None:
            edge_server.confirmed_incarnation = incarnation

        confirmed = await amend(self._kit, EDGE_SERVERS, name, confirm)
        return pb.ConfirmDesiredStateResponse(edge_server=await self._shown(confirmed))

    async def RevokeEdgeServer(self, request: pb.RevokeEdgeServerRequest, context: Any) -> pb.RevokeEdgeServerResponse:
        name = full_name(request.name, "edgeServers", "name")
        now = self._kit.timestamp()
        revoked = await amend(self._kit, EDGE_SERVERS, name, lambda edge_server: edge_server.revoke_time.CopyFrom(now))
        await self._kit.recorder.record(name, REVOKED, f"{caller().name} revoked it: its agent is let in no more")
        return pb.RevokeEdgeServerResponse(edge_server=await self._shown(revoked))

    async def _shown(self, edge_server: pb.EdgeServer) -> pb.EdgeServer:
        return (await with_edge_server_status(self._kit, [edge_server]))[0]

    async def _position_on(self, name: str) -> str:
        """A position that names the edge server. One in deletion does not count: a server that is lost for ever must
        not keep its positions from going."""
        async for position in self._kit.resources.all(POSITION):
            if name in servers_of(position.message) and not position.message.HasField("delete_time"):
                return position.message.name
        return ""
