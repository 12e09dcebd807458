"""Maintenance windows from `UpdateEdgeServer` to the hosts: what waits, what does not, and who may have it now."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration

from mesh import clock
from tests import models
from tests.edge.test_upgrade import in_service_at, joined
from tests.integration.agent_world import AgentProcess, kill
from tests.integration.control_plane_process import ControlPlaneProcess, control_plane, make_application
from tests.integration.control_plane_process import until as until_shown
from tests.integration.test_agent import run
from waypost.api.control.v1 import edge_server_pb2, edge_server_pb2_grpc, position_pb2, position_pb2_grpc
from waypost.api.control.v1.position_pb2 import POSITION_STATE_IN_SERVICE, POSITION_STATE_UPDATING, Position


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[ControlPlaneProcess, AgentProcess, Position]]:
    """A control plane, an agent that joined it, and a position of theirs in service."""
    with control_plane(directory / "plane") as plane:
        async with plane.channel() as channel:
            application = await make_application(channel)
        agent = await joined(plane, directory, sys.executable)
        try:
            yield plane, agent, await in_service_at(plane, application, models.affine(directory / "m.onnx", scale=2.0))
        finally:
            await agent.end(signal.SIGTERM)
            await asyncio.to_thread(agent.stop_all)


async def keep_window(channel: Any, *, hours_from_now: float) -> None:
    """One a day, an hour long."""
    opens = time.gmtime(clock.now() + hours_from_now * 3600)
    window = edge_server_pb2.MaintenanceWindow(start=time.strftime("%H:%M", opens), duration=Duration(seconds=3600))
    request = edge_server_pb2.UpdateEdgeServerRequest(
        edge_server=edge_server_pb2.EdgeServer(name="edgeServers/tower", spec={"maintenance_windows": [window]})
    )
    request.update_mask.paths.append("spec.maintenance_windows")
    await edge_server_pb2_grpc.EdgeServerServiceStub(channel).UpdateEdgeServer(request)


async def change(channel: Any, position: Position, *paths: str) -> None:
    position.etag = ""  # whoever wrote meanwhile
    request = position_pb2.UpdatePositionRequest(position=position)
    request.update_mask.paths.extend(paths)
    await position_pb2_grpc.PositionServiceStub(channel).UpdatePosition(request)


def why(position: Position) -> str:
    """The reason of ChangesApplied."""
    return next((c.reason for c in position.status.conditions if c.type == "ChangesApplied"), "")


def test_a_change_waits_for_its_window_while_repairs_go_on_and_an_operator_may_have_it_now(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (plane, agent, position), plane.channel() as channel:

            async def read() -> Position:
                stub = position_pb2_grpc.PositionServiceStub(channel)
                return (await stub.GetPosition(position_pb2.GetPositionRequest(name=position.name))).position

            await keep_window(channel, hours_from_now=5)
            position.spec.serve_as = "renamed"
            await change(channel, position, "spec.serve_as")
            held = await until_shown(read, lambda found: why(found) == "MAINTENANCE_WINDOW")
            assert held.status.state == POSITION_STATE_UPDATING
            assert (held.status.observed_generation, held.status.held_generation) == (1, 2)
            assert "; generation 2 waits for the maintenance window that opens " in held.status.message

            replica, pid = next(iter(agent.pids("r-").items()))
            kill(pid)
            repaired = await until_shown(read, lambda found: found.status.replicas[0].starts == 2)
            assert repaired.status.replicas[0].id == replica

            position.changes_allowed_until.FromSeconds(int(clock.now()) + 60)
            await change(channel, position, "changes_allowed_until")
            done = await until_shown(read, lambda found: found.status.state == POSITION_STATE_IN_SERVICE)
            assert (done.status.observed_generation, done.status.endpoint.serve_as) == (2, "renamed")
            assert not why(done)

    run(scenario())


def test_a_window_that_is_open_holds_nothing_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served(tmp_path) as (plane, _, position), plane.channel() as channel:
            await keep_window(channel, hours_from_now=-0.5)
            position.spec.serve_as = "renamed"
            await change(channel, position, "spec.serve_as")

            async def read() -> Position:
                stub = position_pb2_grpc.PositionServiceStub(channel)
                return (await stub.GetPosition(position_pb2.GetPositionRequest(name=position.name))).position

            done = await until_shown(read, lambda found: found.status.endpoint.serve_as == "renamed")
            assert done.status.held_generation == 0

    run(scenario())
