# ruff: noqa: N802  methods are named by the proto
"""control.v1.AuthorityService: the root of the mesh, and its replacement."""

from typing import Any

from control_plane.identity.authority import Authority
from control_plane.identity.own import OwnIdentity
from control_plane.root_rotation import RootRotation
from mesh.certificates import Life, pin
from mesh.times import timestamp
from waypost.api.control.v1 import authority_pb2 as pb
from waypost.api.control.v1 import authority_pb2_grpc as rpc
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED


class AuthorityService(rpc.AuthorityServiceServicer):
    def __init__(self, authority: Authority, own: OwnIdentity, rotation: RootRotation) -> None:
        self._authority = authority
        self._own = own
        self._rotation = rotation

    async def GetAuthority(self, request: pb.GetAuthorityRequest, context: Any) -> pb.GetAuthorityResponse:
        return pb.GetAuthorityResponse(authority=await self._shown())

    async def RotateAuthority(self, request: pb.RotateAuthorityRequest, context: Any) -> pb.RotateAuthorityResponse:
        self._rotation.begin()
        return pb.RotateAuthorityResponse(authority=await self._shown())

    async def FinishAuthorityRotation(
        self, request: pb.FinishAuthorityRotationRequest, context: Any
    ) -> pb.FinishAuthorityRotationResponse:
        await self._rotation.finish(force=request.force)
        return pb.FinishAuthorityRotationResponse(authority=await self._shown())

    async def _shown(self) -> pb.Authority:
        joined, waiting = await self._rotation.joined(), await self._rotation.waiting()
        return pb.Authority(
            roots=self._roots(),
            ca_pem=self._own.api_roots.decode(),
            from_outside=self._authority.from_outside,
            edge_servers=len(joined),
            edge_servers_ready=len(joined) - len(waiting),
            waiting=[
                pb.WaitingEdgeServer(
                    edge_server=name,
                    connected=status.state == EDGE_SERVER_STATE_CONNECTED,
                    last_seen_time=status.last_seen_time,
                )
                for name, status in sorted(waiting.items())
            ],
        )

    def _roots(self) -> list[pb.Root]:
        lives = [(pin(root), Life.of(root)) for root in self._authority.certificates]
        return [
            pb.Root(
                sha256=key,
                create_time=timestamp(life.issued),
                expire_time=timestamp(life.expires),
                signs=key == self._authority.pin,
            )
            for key, life in lives
        ]
