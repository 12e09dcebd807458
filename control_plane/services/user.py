# ruff: noqa: N802  methods are named by the proto
"""control.v1.UserService: people with a password. The hash stands in a record of its own, beside the user."""

from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from control_plane.access import caller
from control_plane.access.attempts import peer_of
from control_plane.domain.check import check_id, check_password, full_name
from control_plane.services.families import USERS
from control_plane.services.kit import Kit, retried
from control_plane.services.listing import Listing, list_page
from control_plane.services.login import Login
from control_plane.services.role_binding import bindings_of
from control_plane.services.writing import Guards, create, delete, names_below
from control_plane.store import Delete, Put
from control_plane.store.resources import PASSWORD, SESSION, USER, password_name
from waypost.api.control.v1 import user_pb2 as pb
from waypost.api.control.v1 import user_pb2_grpc as rpc


class UserService(rpc.UserServiceServicer):
    def __init__(self, kit: Kit, login: Login) -> None:
        self._kit = kit
        self._login = login

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        found = await self._kit.resources.get(USER, full_name(request.name, "users", "name"))
        return pb.GetUserResponse(user=found.message)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        found, token = await list_page(self._kit, USER, Listing("", "users"), request)
        return pb.ListUsersResponse(users=found, next_page_token=token)

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        check_id(request.user_id, "users", "user_id")
        check_password(request.password)
        name = f"users/{request.user_id}"
        password = _encoded(name, await self._login.passwords.hash(request.password))

        async def guard(user: pb.User) -> Guards:
            return Guards(writes=[password])

        user = await create(self._kit, USERS, request.user, name, guard=guard)
        return pb.CreateUserResponse(user=user)

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Any) -> pb.DeleteUserResponse:
        name = full_name(request.name, "users", "name")

        async def along() -> list[str]:
            sessions = await names_below(self._kit, name, SESSION)
            return [password_name(name), *sessions, *await bindings_of(self._kit, {name})]

        await delete(self._kit, USERS, name, request.etag, along=along)
        return pb.DeleteUserResponse()

    async def SetPassword(self, request: pb.SetPasswordRequest, context: Any) -> pb.SetPasswordResponse:
        name = full_name(request.name, "users", "name")
        check_password(request.password)
        if caller().name == name:  # a session that was left open somewhere must not be enough to take the user over
            await self._login.prove(name, request.current_password, peer_of(context.peer()))
        hashed = await self._login.passwords.hash(request.password)

        async def attempt() -> None:
            user = await self._kit.resources.get(USER, name)
            ended = [Delete(session) for session in await names_below(self._kit, name, SESSION)]
            await self._kit.stores.records.commit([_encoded(name, hashed), *ended], expect={name: user.revision})

        await retried(attempt)
        return pb.SetPasswordResponse()


def _encoded(user: str, hashed: str) -> Put:
    return PASSWORD.encode(password_name(user), StringValue(value=hashed))
