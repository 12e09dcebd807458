"""Who calls on the link port: the edge server that its certificate names, if that exists and may; or a peer of ours."""

from collections.abc import Sequence
from typing import Any

from cryptography import x509

from control_plane.identity.authority import AgentCertificate, Authority
from control_plane.identity.revocation import refuse_revoked
from control_plane.store.resources import EDGE_SERVER, Resources
from waypost.errors import Denied

KNOWN_MAX = 1 << 14  # certificates, some kilobyte each

PEERS = "/waypost.api.link.v1.PeerService/"


class LinkAccess:
    """Lets agents of existing edge servers in, and control planes to what is for them (`mesh.serve.Authorise`)."""

    def __init__(self, resources: Resources, authority: Authority) -> None:
        self._resources = resources
        self._authority = authority
        self._known: dict[bytes, AgentCertificate] = {}
        """By PEM. Checking a signature costs a fifth of a millisecond, twice for each connection, and after a cut of
        all links thousands come back with certificates that were checked a moment ago."""
        self._known_under: Sequence[x509.Certificate] = ()

    async def __call__(self, method: str, context: Any, request: Any) -> None:
        """Raises: Denied."""
        if method.startswith(PEERS):
            self._authority.refuse_all_but_control_planes(_shown(context))
        else:
            await self.refuse_shut_out(self.certificate(context))

    def certificate(self, context: Any) -> AgentCertificate:
        """The caller's. TLS has proved by then that it is under our root and the caller holds its key.

        Raises: Denied(NOT_AN_AGENT).
        """
        if self._known_under != self._authority.certificates or len(self._known) >= KNOWN_MAX:
            self._known, self._known_under = {}, self._authority.certificates
        (pem,) = context.auth_context()["x509_pem_cert"]
        if pem not in self._known:
            self._known[pem] = self._authority.agent(x509.load_pem_x509_certificate(pem))
        return self._known[pem]

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


def _shown(context: Any) -> x509.Certificate:
    (pem,) = context.auth_context()["x509_pem_cert"]
    return x509.load_pem_x509_certificate(pem)
