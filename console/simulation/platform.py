"""What a simulation asks of the platform's API, as people's tools do, and takes back when it ends."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from console.client import PAGE_SIZE, open_aio
from console.contexts import Context
from mesh import clock
from waypost import names
from waypost.api.control.v1 import (
    credential_pb2,
    credential_pb2_grpc,
    edge_server_pb2,
    edge_server_pb2_grpc,
    position_pb2,
    position_pb2_grpc,
)
from waypost.errors import NotFound

CALLS_AT_ONCE = 32  # of the API: as many as a busy script makes
TOKEN_EXPIRES_S = 24 * 3600
TOKEN_USES = 1000  # as many as a join token may have

T = TypeVar("T")


class Platform:
    """What a simulation asks of the API, and remembers to take back."""

    def __init__(self, channel: Any) -> None:
        self.run = f"sim-{secrets.token_hex(3)}"
        """What the names of all that is made begin with."""
        self._positions: Any = position_pb2_grpc.PositionServiceStub(channel)
        self._credentials: Any = credential_pb2_grpc.CredentialServiceStub(channel)
        self._edge_servers: Any = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
        self._made_credentials: list[str] = []
        self._made_positions: dict[str, None] = {}
        self._made_edge_servers: list[str] = []

    async def join_token(self, uses: int) -> str:
        """One that makes edge servers whose names begin with `run`."""
        credential = credential_pb2.Credential(
            description="simulation", max_uses=uses, edge_server_pattern=f"{self.run}-*"
        )
        credential.expire_time.FromSeconds(int(clock.now()) + TOKEN_EXPIRES_S)
        return await self._credential("edgeServers/-", credential)

    async def application_token(self, application: str) -> None:
        """One more token of an application: every position of it is told."""
        await self._credential(application, credential_pb2.Credential(description="simulation"))

    async def _credential(self, parent: str, credential: credential_pb2.Credential) -> str:
        id_ = f"{self.run}-{len(self._made_credentials)}"
        request = credential_pb2.CreateCredentialRequest(parent=parent, credential_id=id_, credential=credential)
        made = await self._credentials.CreateCredential(request)
        self._made_credentials.append(made.credential.name)
        return str(made.secret)

    def joined(self, edge_server: str) -> None:
        self._made_edge_servers.append(edge_server)

    async def deploy(self, position: str, edge_server: str, version: str) -> None:
        """Gives a position a version; makes it where it does not exist."""
        asked = position_pb2.Position(name=position)
        asked.spec.model_version, asked.spec.edge_server = version, edge_server
        request = position_pb2.UpdatePositionRequest(position=asked, allow_missing=True)
        request.update_mask.paths.extend(("spec.model_version", "spec.edge_server"))
        self._made_positions[position] = None
        await self._positions.UpdatePosition(request)

    async def connected(self) -> int:
        """How many of the simulated edge servers the control plane calls connected."""
        count = 0
        request = edge_server_pb2.ListEdgeServersRequest(page_size=PAGE_SIZE)
        while True:
            page: edge_server_pb2.ListEdgeServersResponse = await self._edge_servers.ListEdgeServers(request)
            ours = (each for each in page.edge_servers if names.leaf(each.name).startswith(f"{self.run}-"))
            count += sum(each.status.state == edge_server_pb2.EDGE_SERVER_STATE_CONNECTED for each in ours)
            if not page.next_page_token:
                return count
            request.page_token = page.next_page_token

    async def clean(self) -> None:
        """Deletes what was made. The agents are gone by then: positions in deletion go with their edge server."""
        await each(self._made_credentials, self._delete_credential)
        await each(self._made_positions, self._delete_position)
        for edge_server in self._made_edge_servers:  # one by one: each needs that nothing else is written meanwhile
            await self._delete_edge_server(edge_server)

    async def _delete_credential(self, name: str) -> None:
        with suppress(NotFound):
            await self._credentials.DeleteCredential(credential_pb2.DeleteCredentialRequest(name=name))

    async def _delete_position(self, name: str) -> None:
        with suppress(NotFound):
            await self._positions.DeletePosition(position_pb2.DeletePositionRequest(name=name))

    async def _delete_edge_server(self, name: str) -> None:
        with suppress(NotFound):
            await self._edge_servers.DeleteEdgeServer(edge_server_pb2.DeleteEdgeServerRequest(name=name))


@asynccontextmanager
async def open_platform(context: Context, *, clean: bool) -> AsyncIterator[Platform]:
    """clean: whether what was made is deleted at the end."""
    async with open_aio(context) as channel:
        platform = Platform(channel)
        try:
            yield platform
        finally:
            if clean:
                await platform.clean()


async def each(items: Iterable[T], do: Callable[[T], Awaitable[None]], at_once: int = CALLS_AT_ONCE) -> None:
    """All of them, so many at once. Raises an ExceptionGroup of what `do` raises."""
    room = asyncio.Semaphore(at_once)

    async def one(item: T) -> None:
        async with room:
            await do(item)

    async with asyncio.TaskGroup() as tasks:
        for item in items:
            tasks.create_task(one(item))
