"""Several control planes in one process, on one store in memory that passes for a shared one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from control_plane.peers.holdings import Holdings
from control_plane.peers.membership import Membership
from control_plane.store import Peer, Stores, open_stores


def peer(name: str) -> Peer:
    """run: its name and `!`, so that nobody takes one for the other."""
    return Peer(name, f"{name}!", f"{name}:7601", f"{name}.example:7601", "1.2.3")


@dataclass
class Plane:
    membership: Membership
    holdings: Holdings


@asynccontextmanager
async def shared() -> AsyncIterator[Stores]:
    async with open_stores("sqlite://") as stores:
        yield replace(stores, is_shared=True)


async def plane(stores: Stores, name: str) -> Plane:
    membership = Membership(stores, peer(name))
    await membership.open()
    return Plane(membership, Holdings(stores.claims, membership))
