"""A link's wire over grpcio: the parent's end, and the child's in processes that have grpcio anyway (link_wire.py)."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from mesh.identity import Identity
from mesh.link import ChildWire, Dial, WireLost
from waypost.api.link.v1 import link_pb2 as pb
from waypost.errors import Denied, MeshError, Unauthenticated
from waypost.rpc import from_rpc_error, open_aio_channel


def dial_grpc(connect: Any) -> Dial:
    """Dials with a stub's bidi method, of a channel of `waypost.rpc.open_aio_channel`."""

    async def dial() -> ChildWire:
        return _GrpcChildWire(connect.start())

    return dial


def dial_grpc_tls(address: str, connect: Callable[[grpc.aio.Channel], Any], *, identity: Path, name: str) -> Dial:
    """The same over mutual TLS, each time on a channel of its own, with the certificate that lies on the disk then.

    connect: the bidi method of a channel. identity: directory as mesh.identity has it. name: DNS name in the
    certificate of whom we dial.
    """

    async def dial() -> ChildWire:
        try:
            tls = Identity.load(identity).tls(name)
        except OSError as error:
            raise WireLost(f"the certificate in {identity} cannot be used: {error}") from error
        channel = open_aio_channel(address, tls=tls)
        return _GrpcChildWire(connect(channel).start(), channel)

    return dial


class _GrpcChildWire:
    def __init__(self, call: Any, owned: grpc.aio.Channel | None = None) -> None:
        """owned: ends with the wire."""
        self._call = call
        self._owned = owned

    async def send(self, message: pb.ChildMessage) -> None:
        try:
            await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise await self._why() from error

    async def receive(self) -> pb.ParentMessage | None:
        try:
            message = await self._call.read()
        except grpc.RpcError as error:
            raise _lost(from_rpc_error(error)) from error
        return None if message is grpc.aio.EOF else message

    async def close(self) -> None:
        self._call.cancel()  # an abandoned grpc.aio call is never collected by itself (grpc issue 43462)
        if self._owned is not None:
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
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise WireLost("the child's connection ended") from error

    async def receive(self) -> pb.ChildMessage | None:
        try:
            message = await self._context.read()
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise WireLost("the child's connection ended") from error
        return None if message is grpc.aio.EOF else message

    async def close(self) -> None:
        """The stream ends when the servicer's method returns."""
