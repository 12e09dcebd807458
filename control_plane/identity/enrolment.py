"""How an edge server's agent gets its certificate, and the next ones, by link.v1.EnrolmentService on the API's port.

`Enrol` takes a join token (joining.py says what one is worth).

Both may ask for an authority besides, with a key of its own, to certify what runs on the edge server. Since nothing in
a request for a certificate says whom it is for, that request is signed with the key that proves the caller.

`Renew` takes the certificate held until now, and a request for the next one that its key has signed. It asks for no
client certificate in TLS, so that an edge server which was away for longer than its certificate lived needs nobody to
come by: within `renewal_grace` an expired certificate still proves who asks. It writes nothing and may be repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.access import Secrets
from control_plane.identity.authority import AgentCertificate, Authority, requested_key
from control_plane.identity.joining import JoinTokens
from control_plane.identity.revocation import issue_time, refuse_revoked
from control_plane.store import RevisionConflict, Stores
from control_plane.store.resources import EDGE_SERVER, Resources
from mesh.certificates import is_signed, key_sha256
from mesh.clock import RandomIds
from waypost import names
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_JOIN
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.link.v1 import enrolment_pb2_grpc
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse, RenewRequest, RenewResponse
from waypost.errors import Precondition, Unauthenticated

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """What an agent is told besides its certificate."""

    link_address: str
    """`host:port` of the link as edge servers reach it."""
    api_roots: Callable[[], bytes]
    """PEM of what the API's certificate is under."""


class EnrolmentService(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """renewal_grace: how long after its end a certificate may still be renewed."""

    def __init__(
        self,
        stores: Stores,
        secrets: Secrets,
        authority: Authority,
        place: Place,
        *,
        renewal_grace: timedelta,
        now: Callable[[], float],
    ) -> None:
        self._resources = Resources(stores.records)
        self._secrets = secrets
        self._authority = authority
        self._place = place
        self._renewal_grace = renewal_grace
        self._tokens = JoinTokens(stores, RandomIds(), now)
        self._now = now

    async def Enrol(self, request: EnrolRequest, context: Any) -> EnrolResponse:  # noqa: N802  named by the proto
        """Raises Unauthenticated (WRONG_SIGNATURE and others), Invalid (BAD_CERTIFICATE_REQUEST), and what
        JoinTokens.use does.
        """
        known = await self._secrets.match(request.join_token, CREDENTIAL_KIND_JOIN)
        key = requested_key(request.certificate_request)
        _refuse_unsigned(request, key)
        fingerprint = key_sha256(key)
        while True:
            try:
                edge_server = await self._tokens.use(known.name, request.edge_server, fingerprint)
                break
            except RevisionConflict:
                continue  # somebody else wrote it in between; perhaps our own first call
        log.info("enrolled", server=edge_server.name, credential=known.name)
        return EnrolResponse(edge_server=edge_server.name, **self._issued(request, edge_server))

    async def Renew(self, request: RenewRequest, context: Any) -> RenewResponse:  # noqa: N802  named by the proto
        """Raises Unauthenticated (BAD_CERTIFICATE, WRONG_SIGNATURE), Denied (NOT_AN_AGENT), Invalid
        (BAD_CERTIFICATE_REQUEST), Precondition (CERTIFICATE_TOO_OLD), NotFound.
        """
        held = self._authority.agent(_certificate(request.certificate))
        requested_key(request.certificate_request)
        if not is_signed(request.certificate_request, request.signature, held.key):
            message = f"the request is not signed with the key of the certificate of {held.edge_server}"
            raise Unauthenticated("WRONG_SIGNATURE", message, "renew with the key that the certificate was made for")
        _refuse_unsigned(request, held.key)
        self._refuse_too_old(held)
        edge_server = (await self._resources.get(EDGE_SERVER, held.edge_server)).message
        refuse_revoked(edge_server, held.life.issued)
        log.info("renewed", server=edge_server.name, expired=_date(held.life.expires))
        return RenewResponse(**self._issued(request, edge_server))

    def _issued(self, request: EnrolRequest | RenewRequest, edge_server: EdgeServer) -> dict[str, str]:
        """What both answers say."""
        dated, id_ = issue_time(edge_server, self._now()), names.leaf(edge_server.name)
        asked = request.authority_request
        return {
            "certificate_chain": self._authority.issue(request.certificate_request, id_, now=dated),
            "authority_certificate": self._authority.issue_authority(asked, id_, now=dated) if asked else "",
            "roots": self._authority.roots.decode(),
            "link_address": self._place.link_address,
            "api_roots": self._place.api_roots().decode(),
        }

    def _refuse_too_old(self, held: AgentCertificate) -> None:
        if self._now() > held.life.expires + self._renewal_grace.total_seconds():
            days = self._renewal_grace / timedelta(days=1)
            raise Precondition(
                "CERTIFICATE_TOO_OLD",
                f"the certificate of {held.edge_server} expired on {_date(held.life.expires)}, more than {days:g} days "
                "ago",
                f"let it join again: `waypost edge-server join-token {names.leaf(held.edge_server)}`",
            )


def _refuse_unsigned(request: EnrolRequest | RenewRequest, key: ec.EllipticCurvePublicKey) -> None:
    """An authority is for whom the rest of the request is from. Raises Unauthenticated (WRONG_SIGNATURE), Invalid."""
    if not request.authority_request:
        return
    requested_key(request.authority_request, "authority_request")
    if not is_signed(request.authority_request, request.authority_signature, key):
        message = "authority_request is not signed with the key that the caller has shown to hold"
        raise Unauthenticated("WRONG_SIGNATURE", message, "sign it with the key of the certificate, or leave it away")


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        hint = "send the certificate that is held now, DER"
        raise Unauthenticated("BAD_CERTIFICATE", f"certificate cannot be read: {error}", hint) from error


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
