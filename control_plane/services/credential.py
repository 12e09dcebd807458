# ruff: noqa: N802  methods are named by the proto
"""control.v1.CredentialService: makes secrets, shows each once, keeps its hash.

A secret is `wp1_` and 256 random bits. One that enrols an edge server's agent also carries the pin of this control
plane's root, `wp1_<random>.<pin>`, so that the agent knows whom to trust before it has any certificate.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from control_plane.access import sha256
from control_plane.domain.check import check_id, full_name, refuse
from control_plane.services import rotation
from control_plane.services.families import CREDENTIALS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.role_binding import with_bindings
from control_plane.services.writing import create, delete
from control_plane.store.resources import APPLICATION, CREDENTIAL, EDGE_SERVER, PROJECT, Kind
from mesh.times import timestamp
from waypost import names
from waypost.api.control.v1 import credential_pb2 as pb
from waypost.api.control.v1 import credential_pb2_grpc as rpc
from waypost.errors import Invalid

SECRET_BYTES = 32
JOIN_LIFE_S = 24 * 3600  # long enough to carry it to a site, short enough to be worthless when found later
NEW_EDGE_SERVERS = "edgeServers/-"  # parent of tokens that make edge servers


@dataclass(frozen=True, slots=True)
class _Parent:
    """What a credential belongs to, and what it is good for by that."""

    name: str
    owner: Kind[Any] | None
    kind: pb.CredentialKind.ValueType

    @property
    def prefix(self) -> str:
        return f"{self.name}/credentials" if self.name else "credentials"


class CredentialService(rpc.CredentialServiceServicer):
    """pin: now, the sha256 of the SubjectPublicKeyInfo of this control plane's root certificate, 64 hex digits."""

    def __init__(self, kit: Kit, *, pin: Callable[[], str]) -> None:
        self._kit = kit
        self._pin = pin

    async def CreateCredential(self, request: pb.CreateCredentialRequest, context: Any) -> pb.CreateCredentialResponse:
        credential, secret = await self.issue(request.parent, request.credential_id, request.credential)
        return pb.CreateCredentialResponse(credential=credential, secret=secret)

    async def issue(self, parent: str, credential_id: str, asked: pb.Credential) -> tuple[pb.Credential, str]:
        """(credential, secret). Arguments as in CreateCredentialRequest.

        Raises: Invalid, NotFound for the parent, AlreadyExists(CREDENTIAL_EXISTS).
        """
        owner = _parent(parent)
        check_id(credential_id, "credentials", "credential_id")
        if asked.HasField("expire_time") and asked.expire_time.ToMilliseconds() <= self._kit.now() * 1000:
            refuse("credential.expire_time", f"lies in the past: {asked.expire_time.ToJsonString()}")
        secret = self._new_secret(owner)

        def made(credential: pb.Credential) -> None:
            credential.kind = owner.kind
            credential.secret_sha256 = sha256(secret)
            if owner.kind == pb.CREDENTIAL_KIND_JOIN and not credential.HasField("expire_time"):
                credential.expire_time.CopyFrom(timestamp(self._kit.now() + JOIN_LIFE_S))

        family = replace(CREDENTIALS, owner=owner.owner)
        created = await create(self._kit, family, asked, f"{owner.prefix}/{credential_id}", made=made)
        return created, secret

    async def ListCredentials(self, request: pb.ListCredentialsRequest, context: Any) -> pb.ListCredentialsResponse:
        owner = _parent(request.parent)
        wanted = Listing(owner.name, "credentials")  # for NEW_EDGE_SERVERS that of every edge server too
        found, token = await list_page(self._kit, CREDENTIAL, wanted, request, parent_kind=owner.owner)
        return pb.ListCredentialsResponse(credentials=found, next_page_token=token)

    async def RotateCredential(self, request: pb.RotateCredentialRequest, context: Any) -> pb.RotateCredentialResponse:
        owner = _owner_of(request.name)
        overlap_s = rotation.overlap_s(request)
        old = await self._kit.resources.get(CREDENTIAL, request.name)
        asked, secret = rotation.successor(old.message, self._kit.now()), self._new_secret(owner)
        id_ = request.credential_id or rotation.next_id(names.leaf(request.name))
        check_id(id_, "credentials", "credential_id")

        def made(credential: pb.Credential) -> None:
            credential.kind = owner.kind
            credential.secret_sha256 = sha256(secret)
            credential.replaces = request.name

        guard = partial(rotation.guard, self._kit, overlap_s)
        family = replace(CREDENTIALS, owner=owner.owner)
        created = await create(self._kit, family, asked, f"{owner.prefix}/{id_}", made=made, guard=guard)
        replaced = await self._kit.resources.get(CREDENTIAL, request.name)
        return pb.RotateCredentialResponse(credential=created, secret=secret, replaced=replaced.message)

    async def DeleteCredential(self, request: pb.DeleteCredentialRequest, context: Any) -> pb.DeleteCredentialResponse:
        _owner_of(request.name)
        await delete(self._kit, CREDENTIALS, request.name, request.etag, along=with_bindings(self._kit, request.name))
        return pb.DeleteCredentialResponse()

    def _new_secret(self, owner: _Parent) -> str:
        secret = f"wp1_{secrets.token_urlsafe(SECRET_BYTES)}"
        return f"{secret}.{self._pin()}" if owner.kind == pb.CREDENTIAL_KIND_JOIN else secret


def _owner_of(name: str) -> _Parent:
    """What the credential of this full name belongs to. Raises: Invalid(INVALID_FIELD)."""
    collection, _, credential_id = name.rpartition("/")
    if collection != "credentials" and not collection.endswith("/credentials"):
        refuse("name", f"is not the name of a credential: {name!r}", "write it as .../credentials/{id}")
    check_id(credential_id, "credentials", "name")
    return _parent(collection.removesuffix("credentials").removesuffix("/"))


def _parent(name: str) -> _Parent:
    """Raises: Invalid(INVALID_FIELD)."""
    if not name:
        return _Parent("", None, pb.CREDENTIAL_KIND_API)
    if name == NEW_EDGE_SERVERS:
        return _Parent(name, None, pb.CREDENTIAL_KIND_JOIN)
    if name.startswith("edgeServers/"):
        return _Parent(full_name(name, "edgeServers", "parent"), EDGE_SERVER, pb.CREDENTIAL_KIND_JOIN)
    if name.startswith("projects/") and name.count("/") == 1:
        return _Parent(full_name(name, "projects", "parent"), PROJECT, pb.CREDENTIAL_KIND_API)
    try:
        return _Parent(full_name(name, "applications", "parent"), APPLICATION, pb.CREDENTIAL_KIND_APPLICATION)
    except Invalid as error:
        hint = "write the full name of a project, an application or an edge server, or nothing for the whole platform"
        raise Invalid(error.reason, error.message, hint, field="parent") from error
