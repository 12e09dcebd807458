"""The child's end of a link's wire without grpcio, for hosts: they come by the dozen and speak no other gRPC."""

from google.protobuf.message import DecodeError

from mesh.link import ChildWire, Dial, WireLost
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import MeshError
from waypost.rpc.wire_call import WireCall
from waypost.rpc.wire_channel import WireChannel


def dial_wire(channel: WireChannel, path: str) -> Dial:
    """Dials a bidi method: `/package.Service/Method`."""

    async def dial() -> ChildWire:
        return _WireChildWire(await channel.stream(path))

    return dial


class _WireChildWire:
    def __init__(self, call: WireCall) -> None:
        self._call = call

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
