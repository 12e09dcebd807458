"""A control plane that is backed up under load, lost, and restored: the edge loses nothing by it."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import models, postgres
from tests.integration.control_plane_process import (
    Agent,
    ControlPlaneProcess,
    agent,
    enrol,
    make_application,
    make_edge_server,
    until,
)
from tests.integration.test_control_plane import (
    EDGE_SERVER,
    deploy,
    is_connected,
    is_judged,
    make_version,
    scenario,
    shown,
    version,
)
from waypost.api.control.v1 import (
    edge_server_pb2,
    edge_server_pb2_grpc,
    platform_pb2,
    platform_pb2_grpc,
    position_pb2,
    position_pb2_grpc,
)
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment


@dataclass
class Site:
    """Control planes with one address after one another."""

    tmp_path: Path
    held: contextlib.ExitStack
    urls: dict[str, str]
    """Databases by the control plane's name; empty: SQLite."""

    def where(self, name: str) -> list[str]:
        return [f"--database-url={self.urls[name]}"] if name in self.urls else []

    def plane(self, name: str, after: ControlPlaneProcess | None = None) -> ControlPlaneProcess:
        options = ["--lease-s", "2", "--heartbeat-s", "0.5", *self.where(name)]
        made = ControlPlaneProcess(self.tmp_path / name, *options)
        if after is not None:
            made.api, made.link = after.api, after.link
        made.start()
        self.held.callback(made.kill)
        return made

    def run(self, verb: str, name: str) -> str:
        """`waypost backup` or `restore`."""
        command = [Path(sys.executable).parent / "waypost", verb, self.tmp_path / "backup.tar"]
        command += [f"--data-dir={self.tmp_path / name}", *self.where(name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(params=["sqlite", *(["postgresql"] if postgres.SERVER else [])])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with contextlib.ExitStack() as held:
        names = ("first", "second") if request.param == "postgresql" else ()
        yield Site(tmp_path, held, {name: held.enter_context(postgres.database()) for name in names})


async def items(edge: Agent) -> set[str]:
    return {name.rpartition("/")[2] for name in edge.held.items}


async def accepted(plane: ControlPlaneProcess) -> str:
    """Reason of DesiredStateAccepted; empty where it is."""
    conditions = (await shown(plane)).status.conditions
    return next((judged.reason for judged in conditions if judged.type == "DesiredStateAccepted"), "unknown")


async def platform(plane: ControlPlaneProcess) -> platform_pb2.GetPlatformResponse:
    async with plane.channel() as channel:
        return await platform_pb2_grpc.PlatformServiceStub(channel).GetPlatform(platform_pb2.GetPlatformRequest())


async def scale(channel: Any, name: str, replicas: int) -> None:
    """Changes a position's spec."""
    position = position_pb2.Position(name=name)
    position.spec.replicas.max = replicas
    request = position_pb2.UpdatePositionRequest(position=position)
    request.update_mask.paths.append("spec.replicas.max")
    await position_pb2_grpc.PositionServiceStub(channel).UpdatePosition(request)


async def confirm(plane: ControlPlaneProcess) -> None:
    async with plane.channel() as channel:
        stub = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
        await stub.ConfirmDesiredState(edge_server_pb2.ConfirmDesiredStateRequest(name=EDGE_SERVER))


def replicas(edge: Agent, name: str) -> int:
    return PositionAssignment.FromString(edge.held.items[name].body).spec.replicas.max


@scenario
async def test_a_backup_under_load_is_restored_and_the_edge_keeps_what_it_does_not_know(site: Site) -> None:
    plane = site.plane("first")
    async with plane.channel() as channel:
        certificate = await enrol(plane, await make_edge_server(channel, "tower"))
        application = await make_application(channel)
        name = await make_version(channel, application, "1", models.affine(site.tmp_path / "affine.onnx"))
        await until(lambda: version(plane, name), is_judged)
        first = (await deploy(channel, application, name, "first")).name
        backing_up = asyncio.ensure_future(asyncio.to_thread(site.run, "backup", "first"))
        number = 0
        while not backing_up.done():
            await deploy(channel, application, name, f"during-{number}")
            number += 1
        await backing_up
        await deploy(channel, application, name, "late")
        await scale(channel, first, 3)
    async with agent(plane, certificate, EDGE_SERVER) as edge:
        await until(lambda: items(edge), lambda held: len(held) == number + 2)
        await until(lambda: _replicas(edge, first), lambda found: found == 3)
        before = edge.held
        await asyncio.to_thread(plane.kill)
        await asyncio.to_thread(site.run, "restore", "second")
        restored = await asyncio.to_thread(site.plane, "second", plane)

        await until(lambda: accepted(restored), lambda reason: reason == "PRUNE_REFUSED")
        assert edge.held is before
        told = await platform(restored)
        assert [(judged.type, judged.reason) for judged in told.conditions] == [("RestoreSettled", "EDGE_IS_AHEAD")]
        assert told.restored_incarnation == before.incarnation != told.incarnation
        async with restored.channel() as channel:
            known = await positions(channel, application)
            for position in (await items(edge)) - known:
                await deploy(channel, application, name, position)  # made anew: to the edge they are others
        await until(lambda: accepted(restored), lambda reason: reason == "SET_BACK_REFUSED")
        assert edge.held is before
        await confirm(restored)
        await until(lambda: _incarnation(edge), lambda found: found == told.incarnation)
        await until(lambda: accepted(restored), lambda reason: reason == "")
        assert replicas(edge, first) < 3
        assert (await platform(restored)).conditions[0].status == CONDITION_STATUS_TRUE


@scenario
async def test_an_edge_server_that_is_not_ahead_follows_a_restored_control_plane_at_once(site: Site) -> None:
    plane = site.plane("first")
    async with plane.channel() as channel:
        certificate = await enrol(plane, await make_edge_server(channel, "tower"))
        application = await make_application(channel)
        name = await make_version(channel, application, "1", models.affine(site.tmp_path / "affine.onnx"))
        await until(lambda: version(plane, name), is_judged)
        await deploy(channel, application, name, "first")
    async with agent(plane, certificate, EDGE_SERVER) as edge:
        await until(lambda: items(edge), lambda held: held == {"first"})
        await asyncio.to_thread(site.run, "backup", "first")
        await asyncio.to_thread(plane.kill)
        await asyncio.to_thread(site.run, "restore", "second")
        restored = await asyncio.to_thread(site.plane, "second", plane)
        await until(lambda: shown(restored), is_connected)
        async with restored.channel() as channel:
            await deploy(channel, application, name, "second")
        await until(lambda: items(edge), lambda held: held == {"first", "second"})


async def positions(channel: Any, application: str) -> set[str]:
    request = position_pb2.ListPositionsRequest(parent=application, page_size=1000)
    answer = await position_pb2_grpc.PositionServiceStub(channel).ListPositions(request)
    return {position.name.rpartition("/")[2] for position in answer.positions}


async def _replicas(edge: Agent, name: str) -> int:
    return replicas(edge, name)


async def _incarnation(edge: Agent) -> str:
    return edge.held.incarnation
