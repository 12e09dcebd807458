# ruff: noqa: N802  methods are named by the proto
"""link.v1.PeerService: what a peer may ask of us. Everything is about what is in our own hands."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from control_plane.artifacts.store import ArtifactStore
from control_plane.fleet.port import Fleet, held
from control_plane.peers.artifacts import SpreadArtifacts
from waypost.api.link.v1 import peer_pb2 as pb
from waypost.api.link.v1 import peer_pb2_grpc as rpc


class PeerService(rpc.PeerServiceServicer):
    """fleet: of our own sessions. artifacts: on our own disk; spread: with our peers'."""

    def __init__(self, fleet: Fleet, artifacts: ArtifactStore, spread: SpreadArtifacts) -> None:
        self._fleet = fleet
        self._artifacts = artifacts
        self._spread = spread

    async def CommandAgent(
        self, request: pb.CommandAgentRequest, context: Any
    ) -> AsyncIterator[pb.CommandAgentResponse]:
        async with held(self._fleet.command(request.edge_server, request.command)) as results:
            async for result in results:
                yield pb.CommandAgentResponse(result=result)

    async def WatchFigures(
        self, request: pb.WatchFiguresRequest, context: Any
    ) -> AsyncIterator[pb.WatchFiguresResponse]:
        async with held(self._fleet.metrics(request.position, request.edge_server)) as figures:
            async for metrics in figures:
                yield pb.WatchFiguresResponse(metrics=metrics)

    async def StatArtifact(self, request: pb.StatArtifactRequest, context: Any) -> pb.StatArtifactResponse:
        return pb.StatArtifactResponse(size_bytes=self._artifacts.size_bytes(request.digest))

    async def FetchArtifact(
        self, request: pb.FetchArtifactRequest, context: Any
    ) -> AsyncIterator[pb.FetchArtifactResponse]:
        async with aclosing(self._artifacts.read(request.digest, request.offset)) as pieces:
            async for piece in pieces:
                yield pb.FetchArtifactResponse(data=piece)

    async def CopyArtifact(self, request: pb.CopyArtifactRequest, context: Any) -> pb.CopyArtifactResponse:
        await self._spread.ensure(request.digest)
        return pb.CopyArtifactResponse()
