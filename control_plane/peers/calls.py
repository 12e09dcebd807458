"""What is asked of a peer: one channel for each, over mutual TLS with the certificate that our own link shows."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc.aio

from control_plane.store import Peer
from mesh.identity import Identity
from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.api.link.v1.peer_pb2 import (
    CommandAgentRequest,
    CopyArtifactRequest,
    FetchArtifactRequest,
    StatArtifactRequest,
    WatchFiguresRequest,
)
from waypost.api.link.v1.peer_pb2_grpc import PeerServiceStub
from waypost.rpc import open_aio_channel

COPY_S = 600.0  # gigabytes over a slow wire; whoever uploaded them has waited as long already
STAT_S = 5.0  # a peer that does not say so soon whether it has a file has other sorrows


class PeerCalls:
    """identity: ours, as of now. Methods raise what the peer raises, Unavailable where it does not answer."""

    def __init__(self, identity: Callable[[], Identity]) -> None:
        self._identity = identity
        self._channels: dict[str, tuple[Identity, grpc.aio.Channel]] = {}

    async def command(self, peer: Peer, edge_server: str, command: Command) -> AsyncIterator[Result]:
        stub = await self._stub(peer)
        async with aclosing(stub.CommandAgent(CommandAgentRequest(edge_server=edge_server, command=command))) as told:
            async for response in told:
                yield response.result

    async def figures(self, peer: Peer, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        stub = await self._stub(peer)
        request = WatchFiguresRequest(position=position, edge_server=edge_server)
        async with aclosing(stub.WatchFigures(request)) as told:
            async for response in told:
                yield response.metrics

    async def stat(self, peer: Peer, digest: str) -> int:
        """Bytes of an artifact. Raises NotFound."""
        stub = await self._stub(peer)
        return int((await stub.StatArtifact(StatArtifactRequest(digest=digest), timeout=STAT_S)).size_bytes)

    async def copy(self, peer: Peer, digest: str) -> None:
        """Makes an artifact that we have lie there, too."""
        stub = await self._stub(peer)
        await stub.CopyArtifact(CopyArtifactRequest(digest=digest), timeout=COPY_S)

    async def fetch(self, peer: Peer, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        stub = await self._stub(peer)
        async with aclosing(stub.FetchArtifact(FetchArtifactRequest(digest=digest, offset=offset))) as told:
            async for response in told:
                yield response.data

    async def keep(self, peers: frozenset[str]) -> None:
        """Closes channels to all others (by run)."""
        for run in self._channels.keys() - peers:
            await self._channels.pop(run)[1].close()

    async def close(self) -> None:
        await self.keep(frozenset())

    async def _stub(self, peer: Peer) -> Any:
        """Over a new channel where our certificate is another one by now: a channel keeps the one it began with."""
        identity = self._identity()
        kept = self._channels.get(peer.run)
        if kept is None or kept[0] != identity:
            self._channels[peer.run] = (identity, open_aio_channel(peer.address, tls=identity.tls()))
            if kept is not None:
                await kept[1].close()
        return PeerServiceStub(self._channels[peer.run][1])
