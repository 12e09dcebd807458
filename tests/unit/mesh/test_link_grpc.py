"""The link's wire over grpcio, on calls that fail; on real ones in tests/integration."""

import asyncio

import grpc
import grpc.aio
import pytest

from mesh.link import WireLost
from mesh.link_grpc import ServerWire
from waypost.api.link.v1 import link_pb2 as pb

GONE = [
    grpc.RpcError("gone"),
    asyncio.InvalidStateError("RPC already finished"),
    grpc.aio.InternalError("batch failed"),
]


class Context:
    """Of a call whose child has gone."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def write(self, message: object) -> None:
        raise self._error

    async def read(self) -> object:
        raise self._error


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_a_child_that_has_gone_is_a_wire_that_is_lost_however_grpc_says_it(error: Exception) -> None:
    wire = ServerWire(Context(error))
    with pytest.raises(WireLost):
        asyncio.run(wire.send(pb.ParentMessage()))
    with pytest.raises(WireLost):
        asyncio.run(wire.receive())
