"""How an edge server's agent gets its certificate: once per join token, by link.v1.EnrolmentService on the API's port.

The answer to a first call may be lost, and the agent then asks again with the key that it made: the credential
remembers which key it enrolled, in the same commit that marks it used, and that key alone may use it again. A second
machine with a copied token is refused, and the refusal says when the first one enrolled.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control_plane.access import Secrets
from control_plane.authority import Authority, requested_key
from control_plane.conditions import timestamp
from control_plane.events import Recorder
from control_plane.store import RevisionConflict, Stores
from control_plane.store.resources import CREDENTIAL, EDGE_SERVER, Resources
from waypost import names
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_JOIN, Credential
from waypost.api.link.v1 import enrolment_pb2_grpc
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from waypost.errors import Precondition

log = structlog.get_logger()

ENROLLED = "ENROLLED"


class EnrolmentService(enrolment_pb2_grpc.EnrolmentServiceServicer):
    """link_address: `host:port` of the link as edge servers reach it."""

    def __init__(
        self, stores: Stores, secrets: Secrets, authority: Authority, *, link_address: str, now: Callable[[], float]
    ) -> None:
        self._stores = stores
        self._resources = Resources(stores.records)
        self._secrets = secrets
        self._authority = authority
        self._link_address = link_address
        self._recorder = Recorder(stores.events, now)
        self._now = now

    async def Enrol(self, request: EnrolRequest, context: Any) -> EnrolResponse:  # noqa: N802  named by the proto
        """Raises Unauthenticated, Invalid (BAD_CERTIFICATE_REQUEST), Precondition (JOIN_TOKEN_USED)."""
        known = await self._secrets.match(request.join_token, CREDENTIAL_KIND_JOIN)
        fingerprint = _fingerprint(request.certificate_request)
        while True:
            try:
                await self._use(known.name, fingerprint)
                break
            except RevisionConflict:
                continue  # somebody else wrote it in between; perhaps our own first call
        edge_server = names.parent(known.name)
        log.info("enrolled", server=edge_server, credential=known.name)
        chain = self._authority.issue(request.certificate_request, names.leaf(edge_server), now=self._now())
        return EnrolResponse(
            certificate_chain=chain,
            roots=self._authority.roots.decode(),
            edge_server=edge_server,
            link_address=self._link_address,
        )

    async def _use(self, name: str, fingerprint: str) -> None:
        """Marks the credential used for this key, or finds that it was. Raises RevisionConflict."""
        credential = await self._resources.get(CREDENTIAL, name)
        edge_server = await self._resources.get(EDGE_SERVER, names.parent(name))
        before = credential.message
        if before.used_by_key_sha256 == fingerprint:
            return
        if before.used_by_key_sha256:
            raise Precondition(
                "JOIN_TOKEN_USED",
                f"credential {name} enrolled another key at {before.use_time.ToJsonString()}",
                "create a new credential for the edge server; delete this one if that was not you",
                credential=name,
            )
        after = Credential()
        after.CopyFrom(before)
        after.used_by_key_sha256 = fingerprint
        after.use_time.CopyFrom(timestamp(self._now()))
        expect = {name: credential.revision, edge_server.message.name: edge_server.revision}
        await self._stores.records.commit([CREDENTIAL.encode(name, after)], expect=expect)
        await self._recorder.record(edge_server.message.name, ENROLLED, f"an agent enrolled with {names.leaf(name)}")


def _fingerprint(certificate_request: bytes) -> str:
    key = requested_key(certificate_request)
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
