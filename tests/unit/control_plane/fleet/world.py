"""A fleet on a store in memory, and agents that reach it over queues."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from control_plane.fleet.fleet import Fleet
from control_plane.store import Stores
from control_plane.store.resources import EDGE_SERVER, encode_desired
from mesh.link import EMPTY, ChildLink, DesiredState, Item, Timing, WireLost
from tests.sim.database import Database
from waypost.api.control.v1.edge_server_pb2 import EdgeServer, EdgeServerStatus
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.command_pb2 import Command, LogPiece, Result
from waypost.errors import MeshError, NotFound

TOWER = "edgeServers/tower"
POSITION = "projects/p/applications/a/positions/cell"
QUICK = Timing(lease=0.3, heartbeat=0.05, patience=1.0, backoff_initial=0.01, backoff_max=0.05, healthy=1.0)


class QueueWire:
    """One end of a connection in memory."""

    def __init__(self, out: "asyncio.Queue[Any]", into: "asyncio.Queue[Any]") -> None:
        self._out = out
        self._into = into

    async def send(self, message: Any) -> None:
        self._out.put_nowait(message)

    async def receive(self) -> Any:
        message = await self._into.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def close(self) -> None:
        self._out.put_nowait(WireLost("the other end closed"))


@dataclass
class Agent:
    """`mesh.link.ChildHandler` that keeps what it is told."""

    held: DesiredState = EMPTY
    interests: list[frozenset[str]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    epoch: int = 0
    link: ChildLink = field(init=False)

    def refuse(self, item: Item) -> MeshError | None:
        return NotFound("TOO_NEW", "this agent is too old for it") if item.name in self.refused else None

    async def keep(self, state: DesiredState) -> None:
        self.held = state

    async def keep_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        self.interests.append(names)

    async def command(self, command: Command) -> AsyncIterator[Result]:
        if command.HasField("clear_rejected"):
            raise NotFound("NOT_REJECTED", "nothing of the kind was rejected")
        for number in range(2):
            yield Result(log=LogPiece(source="monitor", text=f"line {number}\n"))

    def link_changed(self, connected: bool) -> None: ...


@dataclass
class World:
    stores: Stores
    fleet: Fleet
    tasks: asyncio.TaskGroup
    issued: float = 1_800_000_000.0
    """When the certificates of agents that dial from now on were signed."""
    refusals: list[str] = field(default_factory=list)
    """Why agents were not let in, or cut off."""

    async def edge_server(self, name: str = TOWER) -> None:
        await self.stores.records.commit([EDGE_SERVER.encode(name, EdgeServer(name=name))])

    async def desire(self, *items: pb.Item, edge_server: str = TOWER) -> int:
        return await self.stores.records.commit([encode_desired(edge_server, items)])

    async def status(self, edge_server: str = TOWER) -> EdgeServerStatus:
        rows = await self.stores.observed.read("edge_server", [edge_server])
        return EdgeServerStatus.FromString(rows.get(edge_server, b""))

    @asynccontextmanager
    async def agent(
        self,
        edge_server: str = TOWER,
        *,
        identity: str = "",
        boot_id: str = "boot",
        epoch: int = 0,
        held: DesiredState = EMPTY,
    ) -> AsyncIterator[Agent]:
        """Connected, and again whenever it is cut off; leaving is its death."""
        agent = Agent(held)
        agent.link = ChildLink(
            self._dial(edge_server),
            agent,
            identity=identity or edge_server,
            boot_id=boot_id,
            rng=random.Random(1),
            epoch=epoch,
            held=held,
            timing=QUICK,
        )
        task = self.tasks.create_task(agent.link.run())
        try:
            yield agent
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _dial(self, edge_server: str) -> Any:
        async def dial() -> QueueWire:
            up: asyncio.Queue[Any] = asyncio.Queue()
            down: asyncio.Queue[Any] = asyncio.Queue()
            self.tasks.create_task(self._serve(edge_server, QueueWire(down, up), down))
            return QueueWire(up, down)

        return dial

    async def _serve(self, edge_server: str, wire: QueueWire, down: "asyncio.Queue[Any]") -> None:
        try:
            await self.fleet.serve(edge_server, wire, issued=self.issued)
        except MeshError as error:
            self.refusals.append(error.reason)
            down.put_nowait(WireLost(str(error)))
        else:
            down.put_nowait(None)


@asynccontextmanager
async def world(timing: Timing = QUICK) -> AsyncIterator[World]:
    """Leaving ends everything that runs in it. timing: of the fleet; agents have QUICK."""
    stores = stores_in_memory()
    async with asyncio.TaskGroup() as tasks:
        fleet = new_fleet(stores, timing=timing)
        await fleet.open()
        running = tasks.create_task(fleet.run())
        yield World(stores, fleet, tasks)
        running.cancel()
        fleet.say_goodbye()


def stores_in_memory() -> Stores:
    """Without threads."""
    return Database(random.Random(1), slow_s=0.0).open()


def new_fleet(stores: Stores, run: str = "ours", timing: Timing = QUICK) -> Fleet:
    return Fleet(stores, run=run, timing=timing, link_address="cp:7601")
