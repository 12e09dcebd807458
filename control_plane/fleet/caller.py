"""Who calls on the link port: the edge server that its certificate names, if that still exists and may."""

from typing import Any

from cryptography import x509

from control_plane.authority import AgentCertificate, Authority
from control_plane.revocation import refuse_revoked
from control_plane.store.resources import EDGE_SERVER, Resources
from waypost.errors import Denied


class LinkAccess:
    """Lets agents of existing edge servers in, on every method of the link port (`mesh.serve.Authorise`)."""

    def __init__(self, resources: Resources, authority: Authority) -> None:
        self._resources = resources
        self._authority = authority

    async def __call__(self, method: str, context: Any, request: Any) -> None:
        """Raises: Denied."""
        await self.refuse_shut_out(self.certificate(context))

    def certificate(self, context: Any) -> AgentCertificate:
        """The caller's. TLS has proved by then that it is under our root and the caller holds its key.

        Raises: Denied(NOT_AN_AGENT).
        """
        (pem,) = context.auth_context()["x509_pem_cert"]
        return self._authority.agent(x509.load_pem_x509_certificate(pem))

    async def refuse_shut_out(self, certificate: AgentCertificate) -> None:
        """Raises: Denied(EDGE_SERVER_DELETED | EDGE_SERVER_REVOKED)."""
        edge_server = await self._resources.find(EDGE_SERVER, certificate.edge_server)
        if edge_server is None:
            raise Denied(
                "EDGE_SERVER_DELETED",
                f"{certificate.edge_server} does not exist (any more)",
                "create it, and enrol its agent with a new join token",
            )
        refuse_revoked(edge_server.message, certificate.life.issued)
