"""A link's wire over grpcio: the parent's end, and the child's in processes that have grpcio anyway (link_wire.py)."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from mesh.link import ChildWire, Dial, WireLost
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import Denied, MeshError, Unauthenticated
from waypost.rpc import from_rpc_error

GONE = (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.InternalError)
"""What grpc.aio raises where the other end went away: which of them, depends on what was under way."""


def dial_grpc(open_channel: Callable[[], grpc.aio.Channel], connect: Callable[[grpc.aio.Channel], Any]) -> Dial:
    """Dials a stub's bidi method, each time on a channel of its own (`waypost.rpc.open_aio_channel`).

    A channel that stood would refuse calls for up to two seconds after its server is back, each time a failure that
    the link backs off from. And a certificate that was renewed would need a new one anyway.

    connect: the bidi method of a channel.
    """

    async def dial() -> ChildWire:
        try:
            channel = open_channel()
        except OSError as error:  # a certificate that cannot be read, or is being replaced just now
            raise WireLost(str(error)) from error
        return _GrpcChildWire(connect(channel).start(), channel)

    return dial


class _GrpcChildWire:
    def __init__(self, call: Any, owned: grpc.aio.Channel) -> None:
        """owned: ends with the wire."""
        self._call = call
        self._owned = owned

    async def send(self, message: pb.ChildMessage) -> None:
        try:
            await self._call.write(message)
        except GONE as error:
            raise await self._why() from error

    async def receive(self) -> pb.ParentMessage | None:
        try:
            message = await self._call.read()
        except grpc.RpcError as error:
            raise _lost(from_rpc_error(error)) from error
        return None if message is grpc.aio.EOF else message

    async def close(self) -> None:
        self._call.cancel()  # an abandoned grpc.aio call is never collected by itself (grpc issue 43462)
        await self._owned.close()

    async def _why(self) -> Exception:
        call = self._call
        with contextlib.suppress(asyncio.CancelledError):
            if (code := await call.code()) is not grpc.StatusCode.OK:
                trailers, details = await call.trailing_metadata(), await call.details()
                return _lost(from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details)))
        return WireLost("the connection ended")


def _lost(error: MeshError) -> Exception:
    """The parent's refusal is passed on; everything else is a connection that broke."""
    return error if isinstance(error, Denied | Unauthenticated) else WireLost(str(error))


class ServerWire:
    """The parent's end, inside a bidi method written as a coroutine: `await session.serve(ServerWire(context))`."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def send(self, message: pb.ParentMessage) -> None:
        try:
            await self._context.write(message)
        except GONE as error:
            raise WireLost("the child's connection ended") from error

    async def receive(self) -> pb.ChildMessage | None:
        try:
            message = await self._context.read()
        except GONE as error:
            raise WireLost("the child's connection ended") from error
        return None if message is grpc.aio.EOF else message

    async def close(self) -> None:
        """The stream ends when the servicer's method returns."""
