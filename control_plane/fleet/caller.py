"""Who calls on the link port: the edge server that its certificate names, if that still exists."""

from typing import Any

from cryptography import x509

from control_plane.authority import AgentCertificate, Authority
from control_plane.store.resources import EDGE_SERVER, Resources
from mesh.identity import peer_uris
from mesh.spiffe import edge_server_of
from waypost.errors import Denied


def calling_edge_server(context: Any) -> str:
    """`edgeServers/{edge_server}` of a caller whom LinkAccess has let in."""
    found = next(filter(None, map(edge_server_of, peer_uris(context.auth_context()))))
    return f"edgeServers/{found}"


class LinkAccess:
    """Lets agents of existing edge servers in, on every method of the link port (`mesh.serve.Authorise`)."""

    def __init__(self, resources: Resources, authority: Authority) -> None:
        self._resources = resources
        self._authority = authority

    async def __call__(self, method: str, context: Any) -> None:
        """Raises: Denied."""
        shown = self._shown(context)
        if await self._resources.find(EDGE_SERVER, shown.edge_server) is None:
            raise Denied(
                "EDGE_SERVER_DELETED",
                f"{shown.edge_server} does not exist (any more)",
                "create it, and enrol its agent with a new join token",
            )

    def _shown(self, context: Any) -> AgentCertificate:
        """TLS has proved by then that the certificate is under our root and the caller holds its key."""
        (pem,) = context.auth_context()["x509_pem_cert"]
        return self._authority.agent(x509.load_pem_x509_certificate(pem))
