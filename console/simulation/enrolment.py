"""How a simulated agent gets its certificate: as a real one does, with a key of its own and a join token.

Python's ssl reads certificates from files only, so each agent's lie in a directory that nobody else may read, for as
long as the simulation runs.
"""

import asyncio
import random
import ssl
from dataclasses import dataclass
from pathlib import Path

from console.contexts import Context
from mesh import certificates
from waypost.api.link.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from waypost.errors import DeadlineExceeded, Unavailable
from waypost.rpc.wire_channel import WireChannel

ENROL = "/waypost.api.link.v1.EnrolmentService/Enrol"
PATIENCE_S = 10.0  # for one answer
AGAIN_S = 5.0  # at most, before the next attempt


@dataclass(frozen=True, slots=True)
class Membership:
    """What an agent has once it has enrolled."""

    edge_server: str
    """Full name."""
    files: Path
    """PEM: its key, its certificate and what that is under. 0600."""
    roots: str
    """PEM: what the control plane's certificate must be under."""
    link_addresses: tuple[str, ...]


class Enrolment:
    """One for all agents of a simulation. directory: for their certificates, 0700."""

    def __init__(self, context: Context, directory: Path, rng: random.Random) -> None:
        self._address = context.address
        self._tls = None if context.address.startswith("http://") else _trusting(context.ca_pem)
        self._directory = directory
        self._rng = rng

    async def enrol(self, token: str, edge_server: str) -> Membership:
        """Joins as the edge server of this id, however long the control plane is busy. Raises: MeshError."""
        key = certificates.new_key()  # the same one each time: an answer may have been lost
        request = EnrolRequest(
            join_token=token, certificate_request=certificates.request_for(key), edge_server=edge_server
        )
        response = await self._ask_for_ever(request.SerializeToString())
        files = self._directory / f"{edge_server}.pem"
        files.touch(mode=0o600)
        files.write_bytes(certificates.private_pem(key) + response.certificate_chain.encode())
        addresses = tuple(address.strip() for address in response.link_address.split(","))
        return Membership(response.edge_server, files, response.roots, addresses)

    async def _ask_for_ever(self, request: bytes) -> EnrolResponse:
        """Over a connection of its own each time, as agents do."""
        while True:
            try:
                async with WireChannel(self._address, tls=self._tls) as channel:
                    answer = await channel.unary(ENROL, request, timeout_s=PATIENCE_S)
                return EnrolResponse.FromString(bytes(answer))
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(self._rng.uniform(0, AGAIN_S))


def identified(membership: Membership) -> ssl.SSLContext:
    """For one connection of an agent to the link's port."""
    context = _trusting(membership.roots)
    context.load_cert_chain(membership.files)
    return context


def _trusting(roots: str) -> ssl.SSLContext:
    """roots: PEM; empty: the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if roots:
        context.load_verify_locations(cadata=roots)
    else:
        context.load_default_certs()
    return context
