"""A child that dials by grpcio finds its parent again at once."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from mesh import serve
from mesh.identity import Identity
from mesh.link import WireLost
from mesh.link_grpc import ServerWire, dial_grpc
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.agent_link_pb2_grpc import (
    AgentLinkServiceServicer,
    AgentLinkServiceStub,
    add_AgentLinkServiceServicer_to_server,
)
from waypost.rpc import open_aio_channel

VAIN_DIALS = 12  # grpc, left to itself, would wait for more than a second by now


class Parent(AgentLinkServiceServicer):
    async def ConnectAgent(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        wire = ServerWire(context)
        await wire.receive()
        await wire.send(pb.ParentMessage(heartbeat=pb.Heartbeat()))


def test_the_first_dial_succeeds_when_a_parent_is_back(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    dial = dial_grpc(partial(open_aio_channel, address), lambda channel: AgentLinkServiceStub(channel).ConnectAgent)

    async def greeted() -> bool:
        """Whether anybody answers."""
        wire = await dial()
        try:
            await wire.send(pb.ChildMessage(heartbeat=pb.Heartbeat()))
            return await wire.receive() is not None
        except WireLost:
            return False
        finally:
            await wire.close()

    async def scenario() -> None:
        for _ in range(VAIN_DIALS):
            assert not await greeted()
        server = serve.grpc_server()
        add_AgentLinkServiceServicer_to_server(Parent(), server)
        serve.listen(server, address, Identity.local())
        await server.start()
        try:
            assert await greeted()
        finally:
            await server.stop(None)

    asyncio.run(scenario())
