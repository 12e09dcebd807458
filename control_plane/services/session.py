# ruff: noqa: N802  methods are named by the proto
"""control.v1.SessionService: logging in and out, and who one is."""

from typing import Any

from control_plane.access import caller
from control_plane.access.attempts import peer_of
from control_plane.domain.check import full_name, refuse
from control_plane.services.kit import Kit
from control_plane.services.listing import Listing, list_page
from control_plane.services.login import Login
from control_plane.store import Delete
from control_plane.store.resources import SESSION, USER
from mesh.times import timestamp
from waypost import names
from waypost.api.control.v1 import session_pb2 as pb
from waypost.api.control.v1 import session_pb2_grpc as rpc
from waypost.api.control.v1.credential_pb2 import Credential
from waypost.errors import Precondition


class SessionService(rpc.SessionServiceServicer):
    def __init__(self, kit: Kit, login: Login) -> None:
        self._kit = kit
        self._login = login

    async def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        peer = peer_of(context.peer())
        await self._login.prove(request.user, request.password, peer)
        session, token = await self._login.open_session(request.user, peer)
        return pb.LoginResponse(session=_shown(session), token=token)

    async def Logout(self, request: pb.LogoutRequest, context: Any) -> pb.LogoutResponse:
        credential = caller().credential
        if await self._kit.resources.find(SESSION, credential) is None:
            message = f"{caller().name} did not log in: it calls with a token that is no session"
            raise Precondition("NOT_A_SESSION", message, "`waypost token delete` ends a token for the API")
        await self._kit.stores.records.commit([Delete(credential)])
        return pb.LogoutResponse()

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Any) -> pb.WhoAmIResponse:
        who = caller()
        roles = [pb.HeldRole(project=project, role=role) for project, role in sorted(who.grants.roles.items())]
        answer = pb.WhoAmIResponse(subject=who.name, credential=who.credential, roles=roles)
        if who.expires_s:
            answer.expire_time.CopyFrom(timestamp(who.expires_s))
        return answer

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Any) -> pb.ListSessionsResponse:
        user = full_name(request.parent, "users", "parent")
        wanted = Listing(user, "sessions")
        found, token = await list_page(self._kit, SESSION, wanted, request, parent_kind=USER)
        return pb.ListSessionsResponse(sessions=map(_shown, found), next_page_token=token)

    async def DeleteSession(self, request: pb.DeleteSessionRequest, context: Any) -> pb.DeleteSessionResponse:
        if request.name.split("/")[2:3] != ["sessions"] or request.name.count("/") != 3:
            refuse("name", f"is not the name of a session: {request.name!r}", "write it as users/{user}/sessions/{id}")
        full_name(names.parent(request.name), "users", "name")
        await self._kit.resources.get(SESSION, request.name)
        await self._kit.stores.records.commit([Delete(request.name)])
        return pb.DeleteSessionResponse()


def _shown(session: Credential) -> pb.Session:
    """Without the hash, which is nobody's business."""
    return pb.Session(
        name=session.name, create_time=session.create_time, expire_time=session.expire_time, peer=session.peer
    )
