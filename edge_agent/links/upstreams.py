"""The control planes that this agent knows: all alike, so it goes round until one takes it in.

The link's address may be a list (`cp1:7601,cp2:7601`); a DNS name with several addresses, or a load balancer, is gone
round by others. Each agent has an order of its own, by which a fleet spreads. A connection that ends leads to the next
one at once, and a goodbye may name where to go. Files are read where the link is, and elsewhere where that fails.

Each link has a channel of its own; files, which must not delay its news, share one for each address. grpc cannot change
the certificate of a channel that stands. After a renewal there are new channels for files from then on; those before
are left alone, because a file may be on its way through one, and are closed at the next renewal, weeks later.
"""

import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial

import grpc.aio

from edge_agent.artifacts.blobs import GrpcSource
from mesh.link import ChildWire
from mesh.link_grpc import dial_grpc
from waypost.api.link.v1.agent_link_pb2_grpc import AgentLinkServiceStub
from waypost.errors import DeadlineExceeded, Unavailable
from waypost.rpc import Tls, open_aio_channel


@dataclass(slots=True)
class _Channels:
    """For files, under one certificate, by address."""

    tls: Tls | None
    _by_address: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def get(self, address: str) -> grpc.aio.Channel:
        if address not in self._by_address:
            self._by_address[address] = open_aio_channel(address, tls=self.tls)
        return self._by_address[address]

    async def close(self) -> None:
        for channel in self._by_address.values():
            await channel.close()


class Upstreams:
    """Use it inside a running event loop; close it after use."""

    def __init__(self, link_address: str, tls: Tls | None, rng: random.Random) -> None:
        """link_address: `host:port`, or several with commas."""
        self._rng = rng
        self._addresses = self._in_our_order(link_address)
        self._current = self._addresses[-1]
        self._redirected = ""
        self._channels, self._before = _Channels(tls), _Channels(tls)

    @property
    def current(self) -> str:
        """Where the link is, or was tried last."""
        return self._current

    async def dial(self) -> ChildWire:
        """`mesh.link.Dial`: the next control plane, or the one that we were sent to."""
        self._current, self._redirected = self._redirected or self._next(), ""
        open_channel = partial(open_aio_channel, self._current, tls=self._channels.tls)
        return await dial_grpc(open_channel, lambda channel: AgentLinkServiceStub(channel).ConnectAgent)()

    def redirect(self, link_address: str) -> None:
        """A control plane that takes its leave names another one; the first of a list will do."""
        self._redirected = link_address.split(",")[0].strip()

    async def renew(self, link_address: str, tls: Tls | None) -> None:
        """New calls go out with this from now on."""
        gone, self._before, self._channels = self._before, self._channels, _Channels(tls)
        self._addresses = self._in_our_order(link_address)
        await gone.close()

    async def read(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        """`blobs.Source`. Whoever cannot give the first byte is passed over."""
        channels = self._channels
        addresses = [self._current, *(each for each in self._addresses if each != self._current)]
        for address in addresses:
            source, begun = GrpcSource(partial(channels.get, address)), False
            try:
                async for piece in source.read(digest, offset):
                    begun = True
                    yield piece
                return
            except (Unavailable, DeadlineExceeded):
                if begun or address == addresses[-1]:
                    raise

    async def close(self) -> None:
        await self._before.close()
        await self._channels.close()

    def _in_our_order(self, link_address: str) -> list[str]:
        addresses = [address.strip() for address in link_address.split(",") if address.strip()]
        return self._rng.sample(addresses, len(addresses))

    def _next(self) -> str:
        if self._current not in self._addresses:
            return self._addresses[0]
        return self._addresses[(self._addresses.index(self._current) + 1) % len(self._addresses)]
