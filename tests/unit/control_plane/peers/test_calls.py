"""Channels to peers: one for each, for as long as it is of use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.peers import calls as calls_module
from control_plane.peers.calls import PeerCalls
from control_plane.peers.peering import Peering
from control_plane.store import Peer
from mesh import serve
from mesh.identity import Identity
from tests.unit.control_plane.peers.world import plane, shared
from tests.unit.control_plane.scenario import scenario
from waypost.api.link.v1 import peer_pb2, peer_pb2_grpc


class Service(peer_pb2_grpc.PeerServiceServicer):
    """Has a file of two pieces, and gives the second one when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def StatArtifact(self, request: Any, context: Any) -> peer_pb2.StatArtifactResponse:  # noqa: N802
        return peer_pb2.StatArtifactResponse(size_bytes=2)

    async def FetchArtifact(  # noqa: N802
        self, request: Any, context: Any
    ) -> AsyncIterator[peer_pb2.FetchArtifactResponse]:
        yield peer_pb2.FetchArtifactResponse(data=b"a")
        await self.let.wait()
        yield peer_pb2.FetchArtifactResponse(data=b"b")


@dataclass
class World:
    address: str
    service: Service
    calls: PeerCalls
    identity: Identity = field(default_factory=Identity.local)
    channels: list[Any] = field(default_factory=list)
    """All that were opened."""

    def peer(self, run: str) -> Peer:
        return Peer(run, run, self.address, "", "1")

    @property
    def open(self) -> int:
        return sum(channel._inner.get_state() is not grpc.ChannelConnectivity.SHUTDOWN for channel in self.channels)


@asynccontextmanager
async def world(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    service, server = Service(), serve.grpc_server()
    peer_pb2_grpc.add_PeerServiceServicer_to_server(service, server)
    address = serve.listen(server, f"unix:{directory}/s", Identity.local())
    await server.start()
    here = World(address, service, PeerCalls(lambda: here.identity))
    opens = calls_module.open_aio_channel

    def opened(address: str, **_: Any) -> Any:
        here.channels.append(opens(address))
        return here.channels[-1]

    monkeypatch.setattr(calls_module, "open_aio_channel", opened)
    try:
        yield here
    finally:
        await here.calls.close()
        await server.stop(None)
        assert here.open == 0


def test_a_peer_that_is_gone_has_its_channel_closed_and_the_others_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @scenario
    async def run() -> None:
        async with world(tmp_path, monkeypatch) as here:
            for run in ("one", "two", "one"):
                assert await here.calls.stat(here.peer(run), "d") == 2
            assert here.open == len(here.channels) == 2
            await here.calls.keep({"two"})
            assert here.open == 1
            await here.calls.stat(here.peer("two"), "d")
            assert len(here.channels) == 2

    run()


@pytest.mark.parametrize("new_certificate", [False, True], ids=["a peer that is given up", "a new certificate"])
def test_a_call_under_way_goes_on_to_its_end(
    new_certificate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @scenario
    async def run() -> None:
        async with world(tmp_path, monkeypatch) as here:
            async with aclosing(here.calls.fetch(here.peer("one"), "d", 0)) as pieces:
                assert await anext(pieces) == b"a"
                if new_certificate:
                    here.identity = Identity(b"another", b"", b"")
                    await here.calls.stat(here.peer("one"), "d")
                else:
                    await here.calls.keep(())
                before = here.open
                here.service.let.set()
                assert [piece async for piece in pieces] == [b"b"]
            assert here.open == before - 1

    run()


@scenario
async def test_each_beat_says_which_peers_are_left() -> None:
    @dataclass
    class Said:
        kept: list[set[str]] = field(default_factory=list)

        async def keep(self, peers: Any) -> None:
            self.kept.append(set(peers))

        async def let_go(self) -> None: ...

        async def inherit(self, claims: dict[str, int], holder: str) -> None: ...

    async with shared() as stores:
        one, two, said = await plane(stores, "one"), await plane(stores, "two"), Said()
        peering = Peering(stores, one.membership, one.holdings, said, said)
        await peering.look()
        await two.membership.close()
        await peering.look()
        assert said.kept == [{"two!"}, set()]
