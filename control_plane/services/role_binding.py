# ruff: noqa: N802  methods are named by the proto
"""control.v1.RoleBindingService: who may do what. `access` judges by what is written here."""

import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

from control_plane.domain.check import check_id, full_name, refuse
from control_plane.services.families import ROLE_BINDINGS
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page, listing
from control_plane.services.writing import NO_GUARDS, Guards, create, delete
from control_plane.store.resources import CREDENTIAL, PROJECT, ROLE_BINDING, USER, Kind, Stored
from waypost.api.control.v1 import role_binding_pb2 as pb
from waypost.api.control.v1 import role_binding_pb2_grpc as rpc
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_API
from waypost.api.control.v1.role_pb2 import Role
from waypost.errors import Precondition

COLLECTION = "roleBindings"


class RoleBindingService(rpc.RoleBindingServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def GetRoleBinding(self, request: pb.GetRoleBindingRequest, context: Any) -> pb.GetRoleBindingResponse:
        found = await self._kit.resources.get(ROLE_BINDING, _name(request.name))
        return pb.GetRoleBindingResponse(role_binding=found.message)

    async def ListRoleBindings(self, request: pb.ListRoleBindingsRequest, context: Any) -> pb.ListRoleBindingsResponse:
        wanted = listing(request.parent, "projects", COLLECTION) if request.parent else Listing("", COLLECTION)
        owner = PROJECT if request.parent else None
        found, token = await list_page(self._kit, ROLE_BINDING, wanted, request, parent_kind=owner)
        return pb.ListRoleBindingsResponse(role_bindings=found, next_page_token=token)

    async def CreateRoleBinding(
        self, request: pb.CreateRoleBindingRequest, context: Any
    ) -> pb.CreateRoleBindingResponse:
        parent = f"{full_name(request.parent, 'projects', 'parent')}/" if request.parent else ""
        id_ = request.role_binding_id or binding_id(request.role_binding)
        check_id(id_, COLLECTION, "role_binding_id")
        family = replace(ROLE_BINDINGS, owner=PROJECT if parent else None)
        name = f"{parent}{COLLECTION}/{id_}"
        made = await create(self._kit, family, request.role_binding, name, guard=self._guard_subject)
        return pb.CreateRoleBindingResponse(role_binding=made)

    async def DeleteRoleBinding(
        self, request: pb.DeleteRoleBindingRequest, context: Any
    ) -> pb.DeleteRoleBindingResponse:
        await delete(self._kit, ROLE_BINDINGS, _name(request.name), request.etag)
        return pb.DeleteRoleBindingResponse()

    async def _guard_subject(self, binding: pb.RoleBinding) -> Guards:
        """Whom another issuer knows is not ours to look for. Raises: Precondition(SUBJECT_NOT_FOUND)."""
        if binding.subject.startswith("oidc/"):
            return NO_GUARDS
        kind: Kind[Any] = USER if binding.subject.startswith("users/") else CREDENTIAL
        found: Stored[Any] | None = await self._kit.resources.find(kind, binding.subject)
        if found is None or (kind is CREDENTIAL and found.message.kind != CREDENTIAL_KIND_API):
            message = f"there is no {binding.subject} that could call the API"
            hint = "create it first: a role that waits for a name would be had by whoever comes to have that name"
            raise Precondition("SUBJECT_NOT_FOUND", message, hint, subject=binding.subject)
        return Guards({found.message.name: found.revision})


async def bindings_of(kit: Kit, subjects: Collection[str]) -> list[str]:
    """Names of all role bindings of these subjects: they go with them, or the next one of that name would have them."""
    return [
        stored.message.name async for stored in kit.resources.all(ROLE_BINDING) if stored.message.subject in subjects
    ]


def with_bindings(kit: Kit, name: str) -> Any:
    """For `delete(along=...)` of a subject."""
    return partial(bindings_of, kit, {name})


def binding_id(binding: pb.RoleBinding) -> str:
    """The same for the same grant, so that it is not made twice."""
    word = Role.Name(binding.role).removeprefix("ROLE_").lower() if binding.role in Role.values() else "role"
    return f"{word}-{hashlib.sha256(binding.subject.encode()).hexdigest()[:12]}"


def _name(name: str) -> str:
    """Raises: Invalid(INVALID_FIELD)."""
    collection, _, id_ = name.rpartition("/")
    if collection != COLLECTION and not collection.endswith(f"/{COLLECTION}"):
        form = f"{COLLECTION}/{{id}} or projects/{{project}}/{COLLECTION}/{{id}}"
        refuse("name", f"is not the name of a role binding: {name!r}", f"write it as {form}")
    if parent := collection.removesuffix(COLLECTION).removesuffix("/"):
        full_name(parent, "projects", "name")
    check_id(id_, COLLECTION, "name")
    return name
