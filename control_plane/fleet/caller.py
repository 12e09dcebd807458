"""Who calls on the link port: the edge server that its certificate names, if that still exists."""

from typing import Any

from control_plane.authority import edge_server_of
from control_plane.store.resources import EDGE_SERVER, Resources
from mesh.identity import peer_uris
from waypost.errors import Denied


def calling_edge_server(context: Any) -> str:
    """`edgeServers/{edge_server}` of the agent whose certificate the call came with. Raises Denied (NOT_AN_AGENT).

    TLS has proved by then that the certificate is under our root and the caller holds its key.
    """
    for uri in peer_uris(context.auth_context()):
        if edge_server := edge_server_of(uri):
            return f"edgeServers/{edge_server}"
    raise Denied(
        "NOT_AN_AGENT", "the caller's certificate is not an agent's", "enrol the edge server with a join token"
    )


class LinkAccess:
    """Lets agents of existing edge servers in, on every method of the link port (`mesh.serve.Authorise`)."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(self, method: str, context: Any) -> None:
        edge_server = calling_edge_server(context)
        if await self._resources.find(EDGE_SERVER, edge_server) is None:
            raise Denied(
                "EDGE_SERVER_DELETED",
                f"{edge_server} does not exist (any more)",
                "create it, and enrol its agent with a new join token",
            )
