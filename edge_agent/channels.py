"""Channels to the control plane that outlive a certificate: grpc cannot change the one of a channel that stands.

After a renewal there is a new channel for all calls from then on. The one before is left alone, because a file may be
on its way through it, and is closed at the next renewal, weeks later.
"""

import grpc.aio

from edge_agent.enrolment import Enrolment
from waypost.rpc import open_aio_channel


class RenewableChannel:
    """address: `host:port`; empty: as the enrolment says. Create it inside a running event loop; close it after use."""

    def __init__(self, enrolment: Enrolment, address: str) -> None:
        self._address = address
        self._before: grpc.aio.Channel | None = None
        self.current = self._open(enrolment)

    async def renew(self, enrolment: Enrolment) -> None:
        """New calls go out with this from now on."""
        gone, self._before, self.current = self._before, self.current, self._open(enrolment)
        if gone is not None:
            await gone.close()

    async def close(self) -> None:
        for channel in filter(None, (self._before, self.current)):
            await channel.close()

    def _open(self, enrolment: Enrolment) -> grpc.aio.Channel:
        return open_aio_channel(self._address or enrolment.link_address, tls=enrolment.identity.tls())
