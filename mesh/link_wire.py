"""The child's end of a link's wire without grpcio, for hosts: they come by the dozen and speak no other gRPC."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from google.protobuf.message import DecodeError

from mesh.link import ChildWire, Dial, WireLost
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import MeshError
from waypost.rpc.wire_call import WireCall
from waypost.rpc.wire_channel import WireChannel


def dial_wire(open_channel: Callable[[], WireChannel], path: str) -> Dial:
    """Dials a bidi method, `/package.Service/Method`, each time on a channel of its own."""

    async def dial() -> ChildWire:
        try:
            channel = open_channel()
        except OSError as error:  # a certificate that cannot be read, or is being replaced just now
            raise WireLost(str(error)) from error
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(channel)
            call = await channel.stream(path)
            return _WireChildWire(call, stack.pop_all())

    return dial


class _WireChildWire:
    def __init__(self, call: WireCall, owned: AsyncExitStack) -> None:
        """owned: ends with the wire."""
        self._call = call
        self._owned = owned

    async def send(self, message: pb.ChildMessage) -> None:
        try:
            await self._call.send(message.SerializeToString())
        except MeshError as error:
            raise WireLost(str(error)) from error

    async def receive(self) -> pb.ParentMessage | None:
        try:
            message = await self._call.receive()
            return None if message is None else pb.ParentMessage.FromString(bytes(message))
        except MeshError as error:
            raise WireLost(str(error)) from error
        except DecodeError as error:
            raise WireLost(f"the parent sent what cannot be decoded: {error}") from error

    async def close(self) -> None:
        self._call.cancel()
        await self._owned.aclose()
