"""link.v1.AgentLinkService, on the port where every caller has shown an agent's certificate."""

from typing import Any

from control_plane.fleet.caller import calling_edge_server
from control_plane.fleet.fleet import Fleet
from mesh.link_grpc import ServerWire
from waypost.api.link.v1 import agent_link_pb2_grpc


class AgentLinkService(agent_link_pb2_grpc.AgentLinkServiceServicer):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def ConnectAgent(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        await self._fleet.serve(calling_edge_server(context), ServerWire(context), peer=context.peer())
