"""A control plane as a process: real sessions, planner loop and services over a store that outlives it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from typing import Any

from control_plane.app import run_tasks
from control_plane.fleet.fleet import Fleet
from control_plane.peers.fleet import SpreadFleet
from control_plane.peers.holdings import Holdings
from control_plane.peers.membership import Membership
from control_plane.peers.peering import Peering
from control_plane.reconcile.loop import Reconciler
from control_plane.services.edge_server import EdgeServerService
from control_plane.services.kit import make_kit
from control_plane.services.position import PositionService
from control_plane.store import Peer, Stores
from mesh import clock
from mesh.link import Timing
from tests.sim.database import Database
from tests.sim.edge import serve
from tests.sim.network import SimWire
from tests.sim.processes import Process, ProcessLoop, world_context
from tests.sim.witness import Witness
from tests.sim.witness.wires import SESSION, Session
from waypost.api.link.v1.command_pb2 import Command, Result
from waypost.errors import MeshError, Unavailable

RESTART_S = 1.0  # systemd's


class Calls:
    """What control planes ask one another (control_plane.peers.calls.PeerCalls), without sockets."""

    def __init__(self) -> None:
        self.planes: list[Plane] = []

    async def command(self, peer: Peer, edge_server: str, command: Command) -> AsyncIterator[Result]:
        plane = next((each for each in self.planes if each.run == peer.run), None)
        if plane is None or plane.serving is None:
            raise Unavailable("UNAVAILABLE", "connection refused")
        async for result in plane.serving.fleet.command(edge_server, command):
            yield result

    async def keep(self, peers: Collection[str]) -> None: ...


@dataclass(frozen=True)
class Serving:
    """What one life of a control plane is made of."""

    process: Process
    stores: Stores
    fleet: Fleet
    positions: PositionService
    edge_servers: EdgeServerService


class Plane:
    """Started again whenever it ends, unless `keeps_down`."""

    def __init__(
        self,
        name: str,
        loop: ProcessLoop,
        database: Database,
        watch: Witness,
        timing: Timing,
        new_uuid: Callable[[], str],
        calls: Calls,
    ) -> None:
        self.name = name
        self.run = ""
        """Of the process that runs, or ran last (`Peer.run`)."""
        self.process: Process | None = None
        self.serving: Serving | None = None
        """None while it is down, or about to start."""
        self.wall_skew_s = 0.0
        self.keeps_down = False
        self._loop, self._database, self._watch, self._timing = loop, database, watch, timing
        self._new_uuid = new_uuid
        self._calls: Any = calls  # as much of PeerCalls as is used
        calls.planes.append(self)

    @property
    def answering(self) -> Serving | None:
        """None while nobody would answer."""
        return self.serving if self.serving is not None and self.serving.process.runs else None

    def uuid(self) -> str:
        """mesh.clock.Ids"""
        return self._new_uuid()

    def boot(self) -> None:
        if self.process is not None or self.keeps_down:
            return
        self._watch.book.note(f"{self.name} starts")
        self.process = self._loop.process(self.name, lambda: self.wall_skew_s)
        self.process.on_end.append(self._died)
        self.process.spawn(self._run(self.process), "main")

    async def _run(self, process: Process) -> None:
        try:
            await self._serve_for_ever(process)
        except MeshError as error:  # the store was busy when it started: its supervisor tries again
            self._watch.book.note(f"{self.name} ends: {error}")
        process.kill()

    async def _serve_for_ever(self, process: Process) -> None:
        """As control_plane/assembly.py puts it together, without ports. Raises: MeshError where it cannot start."""
        self.run = self._new_uuid()
        stores = self._database.open()
        membership = Membership(stores, Peer(self.name, self.run, self.name, self.name, "1"))
        fleet = Fleet(stores, run=self.run, timing=self._timing, link_address=self.name)
        spread = SpreadFleet(fleet, stores.claims, membership, self._calls)
        holdings = Holdings(stores.claims, membership)
        await membership.open()
        await fleet.open(membership.lives)
        kit = make_kit(stores, now=clock.now, ids=self)
        self.serving = Serving(process, stores, fleet, PositionService(kit, spread), EdgeServerService(kit))
        tasks = {"store": stores.follow, "reconcile": Reconciler(stores).run, "fleet": fleet.run}
        if stores.is_shared:
            tasks["peers"] = Peering(stores, membership, holdings, fleet, self._calls).run
        await run_tasks(tasks, asyncio.Event())

    def accept(self, session: Session, wire: SimWire) -> None:
        assert self.serving is not None
        self.serving.process.on_end.append(wire.end)
        self.serving.process.spawn(self._serve(self.serving.fleet, session, wire), "session")

    async def _serve(self, fleet: Fleet, session: Session, wire: SimWire) -> None:
        SESSION.set(session)
        await serve(lambda ours: fleet.serve(session.edge.name, ours, issued=clock.now()), wire)

    def _died(self) -> None:
        self.process = self.serving = None
        self._watch.book.note(f"{self.name} is dead")
        self._loop.call_later(RESTART_S, self.boot, context=world_context())
