"""What is asked of a peer: one channel for each, over mutual TLS with the certificate that our own link shows.

A channel that is of no more use, since its peer is gone or our certificate is another one, is closed when the last call
on it has ended: closing it would end them like calls that their callers gave up.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
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


@dataclass(slots=True, eq=False)
class _Line:
    """A channel, and how many calls are under way on it."""

    identity: Identity
    channel: grpc.aio.Channel
    calls: int = 0


class PeerCalls:
    """identity: ours, as of now. Methods raise what the peer raises, Unavailable where it does not answer."""

    def __init__(self, identity: Callable[[], Identity]) -> None:
        self._identity = identity
        self._lines: dict[str, _Line] = {}
        self._leaving: set[_Line] = set()
        """Of no more use, and not closed yet."""

    async def command(self, peer: Peer, edge_server: str, command: Command) -> AsyncIterator[Result]:
        request = CommandAgentRequest(edge_server=edge_server, command=command)
        async with self._asking(peer) as stub, aclosing(stub.CommandAgent(request)) as told:
            async for response in told:
                yield response.result

    async def figures(self, peer: Peer, position: str, edge_server: str) -> AsyncIterator[PositionMetrics]:
        request = WatchFiguresRequest(position=position, edge_server=edge_server)
        async with self._asking(peer) as stub, aclosing(stub.WatchFigures(request)) as told:
            async for response in told:
                yield response.metrics

    async def stat(self, peer: Peer, digest: str) -> int:
        """Bytes of an artifact. Raises NotFound."""
        async with self._asking(peer) as stub:
            return int((await stub.StatArtifact(StatArtifactRequest(digest=digest), timeout=STAT_S)).size_bytes)

    async def copy(self, peer: Peer, digest: str) -> None:
        """Makes an artifact that we have lie there, too."""
        async with self._asking(peer) as stub:
            await stub.CopyArtifact(CopyArtifactRequest(digest=digest), timeout=COPY_S)

    async def fetch(self, peer: Peer, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        request = FetchArtifactRequest(digest=digest, offset=offset)
        async with self._asking(peer) as stub, aclosing(stub.FetchArtifact(request)) as told:
            async for response in told:
                yield response.data

    async def keep(self, peers: Collection[str]) -> None:
        """Lets go of channels to all others (by run)."""
        for run in self._lines.keys() - set(peers):
            self._leaving.add(self._lines.pop(run))
        await self._close_idle()

    async def close(self) -> None:
        """Ends what is under way."""
        for line in (*self._lines.values(), *self._leaving):
            await line.channel.close()
        self._lines.clear()
        self._leaving.clear()

    @asynccontextmanager
    async def _asking(self, peer: Peer) -> AsyncIterator[Any]:
        """For one call."""
        line = self._line(peer)
        line.calls += 1
        try:
            yield PeerServiceStub(line.channel)
        finally:
            line.calls -= 1
            await self._close_idle()

    def _line(self, peer: Peer) -> _Line:
        """A new one where our certificate is another one by now: a channel keeps the one it began with."""
        identity = self._identity()
        kept = self._lines.get(peer.run)
        if kept is not None and kept.identity == identity:
            return kept
        if kept is not None:
            self._leaving.add(kept)
        made = self._lines[peer.run] = _Line(identity, open_aio_channel(peer.address, tls=identity.tls()))
        return made

    async def _close_idle(self) -> None:
        for line in [line for line in self._leaving if not line.calls]:
            await line.channel.close()
            self._leaving.discard(line)
