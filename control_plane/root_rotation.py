"""Replacing the root of a mesh that runs: begun, followed and finished, and no edge server lost on the way.

Every agent reports the roots that came with its certificate. Those, in their order, say under which regime it was
certified: where they are ours, it trusts what we trust, and its certificate is under the root that signs. All else
follows from this one comparison. A connected agent that reports others is told to renew, whether a rotation began,
ended, or an operator gave other files; and the root before may go once everybody reports the present ones.
"""

import asyncio
from collections.abc import Mapping

import structlog
from google.protobuf.duration_pb2 import Duration

from control_plane.fleet.port import Fleet, held
from control_plane.identity.authority import Authority
from control_plane.identity.own import OwnIdentity
from control_plane.peers.joining import agree_on_authority
from control_plane.store import Stores
from control_plane.store import observed_rows as rows
from mesh import clock
from mesh.clock import Ids
from mesh.waiting import news_within
from waypost import names
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED, EdgeServerStatus
from waypost.api.link.v1.command_pb2 import Command, RenewCertificate
from waypost.errors import MeshError, Precondition

log = structlog.get_logger()

LOOK_S = 10.0  # how late one hears of it that was away, or had trouble renewing; a look at 5,000 rows takes some 30 ms
TOLD_AT_ONCE = 16  # agents: a fleet of thousands is through within minutes, and each renews by itself after that
COMMAND_TTL = Duration(seconds=20)
NAMED_MAX = 5  # in an error; `status` has them all


class RootRotation:
    """`run` beside everything else."""

    def __init__(self, authority: Authority, own: OwnIdentity, stores: Stores, fleet: Fleet, ids: Ids) -> None:
        self._authority = authority
        self._own = own
        self._stores = stores
        self._fleet = fleet
        self._ids = ids
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Raises: Precondition(ROOT_SHARED), and as Authority.rotate."""
        if self._stores.is_shared and not self._authority.from_outside:
            raise Precondition(
                "ROOT_SHARED",
                "control planes on a shared store have copies of the root, and the others would not know the new one",
                "give each the same files with --ca-certificate and --ca-key, the new root beside the old: see "
                "docs/identity.md",
            )
        self._authority.rotate(now=clock.now())
        log.warning("root_rotated", root=self._authority.pin)
        self._follow()

    async def finish(self, *, force: bool) -> None:
        """Raises: Precondition(EDGE_SERVERS_WAIT) unless `force`, and as Authority.finish_rotation."""
        waiting = await self.waiting()
        if waiting and not force:
            listed = ", ".join(names.leaf(name) for name in sorted(waiting)[:NAMED_MAX])
            more = f" and {len(waiting) - NAMED_MAX} more" if len(waiting) > NAMED_MAX else ""
            raise Precondition(
                "EDGE_SERVERS_WAIT",
                f"not certified under the present roots yet: {listed}{more}",
                "connected ones renew by themselves; delete those that never come back, or finish with --force: what "
                "is left behind needs a new join token",
            )
        await agree_on_authority(self._stores.facts, self._authority.pins)
        self._authority.finish_rotation()
        log.warning("root_rotation_finished", root=self._authority.pin, left_behind=len(waiting))
        self._follow()

    async def joined(self) -> Mapping[str, EdgeServerStatus]:
        """What was seen last of all edge servers whose agents ever connected, by name."""
        seen = await self._stores.observed.scan(rows.EDGE_SERVER)
        return {row.name: EdgeServerStatus.FromString(row.body) for row in seen}

    async def waiting(self) -> Mapping[str, EdgeServerStatus]:
        """Those of them that were not certified under the present roots."""
        ours = self._authority.pins
        return {name: status for name, status in (await self.joined()).items() if list(status.trusted_roots) != ours}

    async def run(self) -> None:
        """Tells connected agents to renew, for ever."""
        while True:
            self._changed.clear()
            few = asyncio.Semaphore(TOLD_AT_ONCE)
            async with asyncio.TaskGroup() as tasks:
                for name, status in (await self.waiting()).items():
                    if status.state == EDGE_SERVER_STATE_CONNECTED and status.trusted_roots:
                        tasks.create_task(self._tell(name, few), name=f"tell-{name}")
            await news_within(self._changed, LOOK_S)

    async def _tell(self, edge_server: str, few: asyncio.Semaphore) -> None:
        command = Command(id=self._ids.uuid(), time_to_live=COMMAND_TTL, renew_certificate=RenewCertificate())
        async with few:
            try:
                async with held(self._fleet.command(edge_server, command)) as results:
                    async for _ in results:
                        pass
            except MeshError as error:  # it is told again
                log.info("agent_not_told", server=edge_server, why=error.message)

    def _follow(self) -> None:
        self._own.refresh()
        self._changed.set()
