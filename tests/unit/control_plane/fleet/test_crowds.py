"""A fleet that comes and goes all at once."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from control_plane.fleet import fleet as fleet_module
from mesh.link import Timing
from tests.unit.control_plane.fleet.world import QUICK, TOWER, QueueWire, World, world
from tests.unit.control_plane.scenario import on_virtual_time, until
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED
from waypost.api.link.v1 import link_pb2 as pb

PATIENT = Timing()  # who is wired says nothing more


class Wired:
    """An agent of which only the wire is looked at."""

    def __init__(self, here: World, name: str) -> None:
        self.up: asyncio.Queue[Any] = asyncio.Queue()
        self.down: asyncio.Queue[Any] = asyncio.Queue()
        self.name = name
        self.served = here.tasks.create_task(here.fleet.serve(name, QueueWire(self.down, self.up), issued=here.issued))
        hello = pb.Hello(identity=name, boot_id="boot", protocol_min=1, protocol_max=1)
        self.up.put_nowait(pb.ChildMessage(hello=hello))

    async def heard(self, kind: str) -> Any:
        """The next message of this kind."""
        while (message := await self.down.get()).WhichOneof("kind") != kind:
            pass
        return getattr(message, kind)


async def arrived(here: World, count: int) -> list[Wired]:
    names = [f"edgeServers/e{number}" for number in range(count)]
    for name in names:
        await here.edge_server(name)
    agents = [Wired(here, name) for name in names]
    for agent in agents:
        await agent.heard("welcome")
    return agents


@on_virtual_time
async def test_agents_that_are_sent_away_are_asked_back_one_after_the_other() -> None:
    async with world(PATIENT) as here:
        agents = await arrived(here, 4)
        here.fleet.say_goodbye()
        goodbyes = [await agent.heard("goodbye") for agent in agents]
        after_ms = sorted(goodbye.reconnect_after.ToMilliseconds() for goodbye in goodbyes)
    assert after_ms == [round(1000 * number / fleet_module.RETURNING_PER_S) for number in range(4)]


def test_more_agents_than_are_admitted_at_once_all_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "ARRIVALS_AT_ONCE", 2)
    monkeypatch.setattr(fleet_module, "WORK_AT_ONCE", 1)

    @on_virtual_time
    async def run() -> None:
        async with world(PATIENT) as here:
            agents = await arrived(here, 12)
            for agent in agents:
                agent.up.put_nowait(pb.ChildMessage(status=pb.Status(full=True)))
            for agent in agents:
                await until(lambda agent=agent: connected(here, agent.name))

    run()


async def connected(here: World, name: str) -> bool:
    return (await here.status(name)).state == EDGE_SERVER_STATE_CONNECTED


def test_who_hangs_up_while_waiting_in_line_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "ARRIVALS_AT_ONCE", 1)

    @on_virtual_time
    async def run() -> None:
        async with world(PATIENT) as here:
            for name in ("edgeServers/gone", "edgeServers/there"):
                await here.edge_server(name)
            async with here.fleet.arrivals:
                gone, there = Wired(here, "edgeServers/gone"), Wired(here, "edgeServers/there")
                await asyncio.sleep(0.01)
                gone.served.cancel()
            await there.heard("welcome")
            await until(lambda: connected(here, "edgeServers/there"))

    run()


def test_who_stands_in_line_for_longer_than_its_patience_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "ARRIVALS_AT_ONCE", 1)
    dials: list[str] = []

    @on_virtual_time
    async def run() -> None:
        async with world() as here:
            serve = here.fleet.serve

            async def counted(edge_server: str, wire: Any, *, issued: float) -> None:
                dials.append(edge_server)
                await serve(edge_server, wire, issued=issued)

            monkeypatch.setattr(here.fleet, "serve", counted)
            await here.edge_server()
            async with here.fleet.arrivals:
                agent = await crowd.enter_async_context(here.agent())
                await asyncio.sleep(1.3 * QUICK.patience)
                assert not agent.link.connected
            await until(lambda: agent.link.connected)
            await crowd.aclose()

    crowd = AsyncExitStack()
    run()
    assert dials == [TOWER]
