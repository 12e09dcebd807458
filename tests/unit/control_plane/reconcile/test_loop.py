"""The loop around the planner: what people write becomes what edge servers are told, and nothing else does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from control_plane.conditions import condition
from control_plane.reconcile import loop
from control_plane.reconcile.loop import Reconciler
from control_plane.store import Delete, Stores, open_stores
from control_plane.store.observed_rows import POSITION_REPORT, edge_server_row, report_name, report_row
from control_plane.store.resources import (
    CREDENTIAL,
    DESIRED,
    EDGE_SERVER,
    MODEL_VERSION,
    POSITION,
    Resources,
    desired_name,
)
from mesh import clock
from mesh.times import timestamp
from tests.sim.virtual import StillLoop
from tests.unit.control_plane.scenario import scenario, until
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_APPLICATION, Credential
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
)
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    ModelVersion,
)
from waypost.api.control.v1.position_pb2 import (
    POSITION_STATE_IN_SERVICE,
    Position,
    PositionSpec,
    PositionStatus,
    RejectedVersion,
)
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment, PositionReport

TOWER, SPARE = "edgeServers/tower", "edgeServers/spare"
APPLICATION = "projects/p/applications/a"
CELL = f"{APPLICATION}/positions/cell"
V1, V2 = f"{APPLICATION}/models/m/versions/1", f"{APPLICATION}/models/m/versions/2"


class World:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    async def put(self, *messages: EdgeServer | ModelVersion | Position) -> None:
        kinds = {EdgeServer: EDGE_SERVER, ModelVersion: MODEL_VERSION, Position: POSITION}
        await self.stores.records.commit([kinds[type(each)].encode(each.name, each) for each in messages])

    async def report(self, **fields: Any) -> None:
        report = PositionReport(uid="u1", **fields)
        report.status.report_time.CopyFrom(timestamp(clock.now()))
        await self.stores.observed.put([report_row(TOWER, CELL, report)])

    async def observe(self, name: str, *, connected: bool) -> None:
        """An edge server's agent came, or its lease ran out."""
        state = EDGE_SERVER_STATE_CONNECTED if connected else EDGE_SERVER_STATE_DISCONNECTED
        status = EdgeServerStatus(state=state)
        status.connected_since_time.CopyFrom(timestamp(clock.now()))
        status.conditions.append(condition("AgentConnected", connected, now=clock.now()))
        await self.stores.observed.put([edge_server_row(name, status)])

    async def told(self, edge_server: str = TOWER) -> dict[str, PositionAssignment]:
        """What an edge server is told, by position."""
        found = await Resources(self.stores.records).find(DESIRED, desired_name(edge_server))
        items = found.message.upserts if found else ()
        return {item.name: PositionAssignment.FromString(item.body) for item in items}

    async def version_told(self, edge_server: str = TOWER) -> str:
        assignment = (await self.told(edge_server)).get(CELL)
        return assignment.spec.model_version if assignment else ""


def edge_server(name: str = TOWER) -> EdgeServer:
    return EdgeServer(name=name)


def version(name: str, state: int = MODEL_VERSION_STATE_AVAILABLE) -> ModelVersion:
    return ModelVersion(name=name, digest=f"digest of {name}", state=state)


def position(model_version: str = V1, generation: int = 1, server: str = TOWER, name: str = CELL) -> Position:
    spec = PositionSpec(model_version=model_version, edge_server=server)
    return Position(name=name, uid="u1" if name == CELL else "u2", generation=generation, spec=spec)


@asynccontextmanager
async def world(reconcilers: int = 1) -> AsyncIterator[World]:
    async with open_stores("sqlite://") as stores, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(Reconciler(stores).run()) for _ in range(reconcilers)]
        yield World(stores)
        for task in running:
            task.cancel()


async def is_told(here: World, position: str, server: str = TOWER) -> bool:
    return position in await here.told(server)


async def becomes(here: World, wanted: str, server: str = TOWER) -> None:
    """Waits until an edge server is told this version."""
    await until(lambda: here.version_told(server), lambda told: told == wanted, f"{server} is told {wanted!r}")


@scenario
async def test_a_deploy_and_an_update_reach_the_desired_state() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1), version(V2))
        await here.put(position())
        await becomes(here, V1)
        await here.put(position(V2, generation=2))
        await becomes(here, V2)


@scenario
async def test_a_version_that_is_not_available_waits_until_it_is() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1, MODEL_VERSION_STATE_IMPORTING), position())

        async def is_told_why() -> bool:
            return "VERSION_IMPORTING" in [event.reason for event in await here.stores.events.newest(CELL)]

        await until(is_told_why)
        assert await here.told() == {}
        await here.put(version(V1))
        await becomes(here, V1)


@scenario
async def test_a_move_takes_the_position_from_one_server_to_the_other() -> None:
    async with world() as here:
        await here.put(edge_server(), edge_server("edgeServers/mast"), version(V1), position())
        await becomes(here, V1)
        await here.put(position(generation=2, server="edgeServers/mast"))
        await becomes(here, V1, "edgeServers/mast")
        assert await here.told() == {}


@scenario
async def test_a_position_in_deletion_goes_when_its_edge_server_has_let_go_of_it() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1), position())
        await becomes(here, V1)
        await here.report()
        leaving = position()
        leaving.delete_time.FromSeconds(1)
        await here.put(leaving)

        async def is_told_to_go() -> bool:
            return (await here.told())[CELL].deleting

        await until(is_told_to_go)
        assert await here.stores.records.read(CELL)
        await here.report(gone=True)

        async def is_gone() -> bool:
            return await here.stores.records.read(CELL) is None

        await until(is_gone)
        assert await here.told() == {}

        async def is_forgotten() -> bool:
            return not await here.stores.observed.scan(POSITION_REPORT)

        await until(is_forgotten)


@scenario
async def test_the_desired_state_of_a_deleted_edge_server_goes() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1), position())
        await becomes(here, V1)
        await here.stores.records.commit([Delete(TOWER), Delete(CELL)])

        async def is_gone() -> bool:
            return await here.stores.records.read(desired_name(TOWER)) is None

        await until(is_gone)


@scenario
async def test_reports_that_say_nothing_new_change_no_plan() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1), position())
        await becomes(here, V1)
        settled = await here.stores.records.revision()
        for number in range(20):
            status = PositionStatus(message=f"figure {number}")
            await here.stores.observed.put([report_row(TOWER, CELL, PositionReport(uid="u1", status=status))])
        await here.put(position(V1, generation=1))
        await here.put(version(V2))

        async def is_settled() -> bool:
            return await here.stores.records.revision() == settled + 2

        await until(is_settled)


@scenario
async def test_a_rejection_that_its_edge_server_takes_back_is_planned_upon() -> None:
    async with world() as here:
        await here.put(edge_server(), version(V1), version(V2), position())
        await becomes(here, V1)
        refused = PositionStatus(rejected=[RejectedVersion(model_version=V2, digest=version(V2).digest)])
        await here.report(status=refused)
        await here.put(position(V2, generation=2))

        async def is_told_of(generation: int) -> bool:
            return (await here.told())[CELL].generation == generation

        await until(lambda: is_told_of(2))
        assert await here.version_told() == V1
        await here.stores.observed.delete(POSITION_REPORT, [report_name(TOWER, CELL)])
        await becomes(here, V2)


@scenario
async def test_a_token_that_expires_leaves_the_desired_state_however_much_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "REPLAN_S", 0.05)
    async with world() as here:
        credential = Credential(name=f"{APPLICATION}/credentials/x", kind=CREDENTIAL_KIND_APPLICATION)
        credential.expire_time.FromSeconds(int(clock.now()) + 2)
        await here.stores.records.commit([CREDENTIAL.encode(credential.name, credential)])
        await here.put(edge_server(), version(V1), position())

        async def tokens() -> int:
            await here.report(status=PositionStatus(message=str(clock.now())))  # there is always news
            return len((await here.told())[CELL].tokens) if await here.told() else -1

        async def is_told(count: int) -> bool:
            return await tokens() == count

        await until(lambda: is_told(1))
        await until(lambda: is_told(0))


@scenario
async def test_two_loops_on_one_store_agree() -> None:
    async with world(reconcilers=3) as here:
        await here.put(edge_server(), version(V1), version(V2), position())
        for generation in range(2, 20):
            wanted = V2 if generation % 2 else V1
            await here.put(position(wanted, generation))
            await becomes(here, wanted)
        (item,) = (await Resources(here.stores.records).get(DESIRED, desired_name(TOWER))).message.upserts
        assert PositionAssignment.FromString(item.body).generation == 19


@scenario
async def test_a_loop_begun_again_takes_up_what_it_missed() -> None:
    async with open_stores("sqlite://") as stores:
        here = World(stores)
        await here.put(edge_server(), version(V1), position())
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(Reconciler(stores).run())
            await becomes(here, V1)
            task.cancel()


@scenario
async def test_another_edge_server_stands_in_for_one_that_is_silent_for_too_long_until_it_serves_again() -> None:
    ruled = position()
    ruled.spec.on_disconnect.replace_after.FromMilliseconds(200)
    ruled.spec.on_disconnect.fallback_edge_servers.append(SPARE)
    async with world() as here:
        await here.put(edge_server(), edge_server(SPARE), version(V1), ruled)
        await here.observe(TOWER, connected=True)
        await here.observe(SPARE, connected=True)
        await becomes(here, V1)
        await here.observe(TOWER, connected=False)
        await becomes(here, V1, SPARE)
        assert await here.version_told(TOWER) == V1, "whoever reaches it there is served"
        await here.observe(TOWER, connected=True)
        await here.put(other := position(name=f"{APPLICATION}/positions/other"))
        await until(lambda: is_told(here, other.name))  # so it was planned since
        assert await here.version_told(SPARE) == V1, "the original has not said yet that it serves"
        await here.report(status=PositionStatus(state=POSITION_STATE_IN_SERVICE))
        await becomes(here, "", SPARE)
        reasons = [event.reason for event in await here.stores.events.newest(CELL)]
        assert {"REPLACED", "RETURNED"} <= set(reasons)


def test_while_changes_pour_in_planning_takes_a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[float] = []
    plan = loop.plan_resources

    async def pour(still: StillLoop) -> None:
        def slow(*arguments: Any, **keywords: Any) -> Any:
            began.append(still.now)
            still.now += 1.0
            return plan(*arguments, **keywords)

        monkeypatch.setattr(loop, "plan_resources", slow)
        async with world() as here:
            await here.put(edge_server(), version(V1))
            generation = 0
            while len(began) < 5:
                generation += 1
                await here.put(position(V1, generation))
                still.now += 0.5

    with asyncio.Runner(loop_factory=StillLoop) as runner:
        still = runner.get_loop()
        assert isinstance(still, StillLoop)
        runner.run(pour(still))
    assert all(after - before >= 10.0 for before, after in pairwise(began))
