"""Two fleets on one store: an agent is spoken of by whoever admitted it last."""

import asyncio

from control_plane.fleet import status as status_of
from control_plane.store import Stores
from control_plane.store.observed_rows import edge_server_row
from control_plane.store.resources import EDGE_SERVER
from tests.unit.control_plane.fleet.world import QUICK, TOWER, World, new_fleet, stores_in_memory
from tests.unit.control_plane.scenario import on_virtual_time, until
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
)


class Two:
    """Fleets of two control planes."""

    def __init__(self, stores: Stores, tasks: asyncio.TaskGroup) -> None:
        self.stores = stores
        self.one = World(stores, new_fleet(stores, "one"), tasks)
        self.two = World(stores, new_fleet(stores, "two"), tasks)
        self.running = [tasks.create_task(world.fleet.run()) for world in (self.one, self.two)]

    async def is_single(self) -> bool:
        """Whether it is said that it has no second agent, or nothing is said."""
        judged = {each.type: each.status for each in (await self.one.status()).conditions}
        return judged.get(status_of.SINGLE, CONDITION_STATUS_TRUE) == CONDITION_STATUS_TRUE

    async def state(self) -> int:
        return (await self.one.status()).state

    async def is_connected(self) -> bool:
        return await self.state() == EDGE_SERVER_STATE_CONNECTED

    async def is_lost(self) -> bool:
        return await self.state() == EDGE_SERVER_STATE_DISCONNECTED

    def end(self) -> None:
        for world, task in ((self.one, self.running[0]), (self.two, self.running[1])):
            task.cancel()
            world.fleet.say_goodbye()


async def two(tasks: asyncio.TaskGroup) -> Two:
    stores = stores_in_memory()
    await stores.records.commit([EDGE_SERVER.encode(TOWER, EdgeServer(name=TOWER))])
    return Two(stores, tasks)


@on_virtual_time
async def test_an_agent_that_moves_is_never_called_lost_by_the_one_it_left() -> None:
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        async with here.one.agent() as agent:
            await until(lambda: agent.epoch == 1)
        async with here.two.agent(epoch=1) as agent:
            await until(lambda: agent.epoch == 2)
            await asyncio.sleep(2 * QUICK.lease)  # the one that it left counts its lease down
            assert await here.is_connected()
        here.end()


@on_virtual_time
async def test_a_session_that_another_control_plane_has_superseded_ends() -> None:
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        async with here.one.agent() as first:
            await until(lambda: first.link.connected)
            async with here.two.agent(epoch=1) as second:
                await until(lambda: second.epoch == 2)
                await here.one.fleet.let_go()
                await until(lambda: first.epoch > 2)  # it has dialled again, as a clone would
        here.end()


@on_virtual_time
async def test_agents_of_one_that_is_gone_have_a_lease_to_come_back_to_another() -> None:
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        epoch = await here.stores.claims.take(TOWER, "dead")
        status = EdgeServerStatus(state=EDGE_SERVER_STATE_CONNECTED, message="its agent is connected")
        await here.stores.observed.put([edge_server_row(TOWER, status)])
        await here.two.fleet.inherit({TOWER: epoch, "subscriptions/x": 1}, "dead")
        await here.one.fleet.inherit({TOWER: epoch}, "dead")  # too late: one of them has it
        assert await here.is_connected()
        assert (await here.stores.claims.read([TOWER]))[TOWER].holder == "two"
        await until(here.is_lost)
        async with here.one.agent(epoch=epoch) as agent:
            await until(lambda: agent.epoch > epoch)
            await until(here.is_connected)
        here.end()


@on_virtual_time
async def test_what_one_that_is_gone_said_of_a_second_agent_is_taken_back_by_its_heir() -> None:
    """Nobody was left who knew when that was over."""
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        epoch = await here.stores.claims.take(TOWER, "dead")
        await here.stores.observed.put(
            [edge_server_row(TOWER, status_of.doubled(EdgeServerStatus(), "a", "b", now=1.0))]
        )
        assert not await here.is_single()
        await here.two.fleet.inherit({TOWER: epoch}, "dead")
        assert await here.is_single()
        here.end()


@on_virtual_time
async def test_what_one_that_lives_said_of_a_second_agent_is_taken_back_by_the_one_it_came_to() -> None:
    """The other one may write of it no more."""
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        async with here.one.agent(boot_id="original"), here.one.agent(boot_id="clone"):

            async def is_doubled() -> bool:
                return not await here.is_single()

            await until(is_doubled)
        async with here.two.agent(boot_id="original", epoch=10):
            await until(here.is_single)
        here.end()


@on_virtual_time
async def test_a_start_judges_no_agent_that_a_living_control_plane_has() -> None:
    async with asyncio.TaskGroup() as tasks:
        here = await two(tasks)
        async with here.one.agent() as agent:
            await until(lambda: agent.epoch == 1)
            await until(here.is_connected)
            await here.two.fleet.open(lambda run: run == "one")
            assert await here.is_connected()
            assert (await here.stores.claims.read([TOWER]))[TOWER].holder == "one"
        here.end()
