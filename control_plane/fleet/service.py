"""link.v1.AgentLinkService, on the port where every caller has shown an agent's certificate."""

from typing import Any

from control_plane.fleet.caller import LinkAccess
from control_plane.fleet.fleet import Fleet
from mesh.link_grpc import ServerWire
from waypost.api.link.v1 import agent_link_pb2_grpc


class AgentLinkService(agent_link_pb2_grpc.AgentLinkServiceServicer):
    def __init__(self, fleet: Fleet, access: LinkAccess) -> None:
        self._fleet = fleet
        self._access = access

    async def ConnectAgent(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        certificate = self._access.certificate(context)
        server, issued = certificate.edge_server, certificate.life.issued
        await self._fleet.serve(server, ServerWire(context), issued=issued, peer=context.peer())
