"""The version of the control plane before the last change of the store's format, beside the one of now on one database.

Its code comes from the repository's history, where that is there.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.integration.control_plane_process import (
    Agent,
    ControlPlaneProcess,
    agent,
    enrol,
    make_edge_server,
    share_authority,
    until,
)
from tests.integration.test_control_plane import EDGE_SERVER, is_connected, scenario, shown
from tests.versions import unpacked
from waypost.api.control.v1 import project_pb2, project_pb2_grpc, watch_pb2, watch_pb2_grpc

if not postgres.SERVER:
    pytest.skip("no PostgreSQL server is named; `make test-postgres` starts one", allow_module_level=True)

BEFORE = "e37537f7"
"""The last commit whose control plane knows format 1 of the store and no other."""


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(BEFORE, tmp_path_factory.mktemp("before"))


@pytest.fixture
def database() -> Iterator[str]:
    with postgres.database() as url:
        yield url


async def make_project(plane: ControlPlaneProcess, name: str) -> None:
    async with plane.channel() as channel:
        stub = project_pb2_grpc.ProjectServiceStub(channel)
        await stub.CreateProject(project_pb2.CreateProjectRequest(project_id=name))


@scenario
async def test_on_postgres_the_version_before_works_on_while_its_store_is_migrated(
    old_code: Path, database: str, tmp_path: Path
) -> None:
    options = ("--database-url", database, "--lease-s", "3", "--heartbeat-s", "0.5")
    old, new = (ControlPlaneProcess(tmp_path / name, *options) for name in ("old", "new"))
    old.code = old_code
    await asyncio.to_thread(old.start)
    try:
        await make_project(old, "written-by-old")
        async with old.channel() as channel:
            certificate = await enrol(old, await make_edge_server(channel, "tower"))
        async with agent(old, certificate, EDGE_SERVER) as edge:
            await until(lambda: shown(old), is_connected)
            share_authority(old, new)
            await asyncio.to_thread(new.start)
            try:
                await both_see_what_each_writes(old, new)
                edge.link.report(EDGE_SERVER, b"")  # the old one goes on writing what it hears
                await until(lambda: shown(old), is_connected)
            finally:
                await asyncio.to_thread(new.kill)
    finally:
        await asyncio.to_thread(old.kill)


async def both_see_what_each_writes(old: ControlPlaneProcess, new: ControlPlaneProcess) -> None:
    async with old.channel() as channel:
        changes = watch_pb2_grpc.WatchServiceStub(channel).Watch(watch_pb2.WatchRequest(names=["projects"]))
        seen = {(await anext(changes)).project.name}
        await make_project(new, "written-by-new")
        async for response in changes:
            seen.add(response.project.name)
            if "projects/written-by-new" in seen:
                break
    async with new.channel() as channel:
        stub = project_pb2_grpc.ProjectServiceStub(channel)
        found = {project.name for project in (await stub.ListProjects(project_pb2.ListProjectsRequest())).projects}
    assert found == {"projects/written-by-old", "projects/written-by-new"}


@scenario
async def test_on_postgres_sessions_are_numbered_on_where_the_version_before_numbered_them(
    old_code: Path, database: str, tmp_path: Path
) -> None:
    options = ("--database-url", database, "--lease-s", "3", "--heartbeat-s", "0.5")
    old, new = (ControlPlaneProcess(tmp_path / name, *options) for name in ("old", "new"))
    old.code = old_code
    await asyncio.to_thread(old.start)
    async with old.channel() as channel:
        certificate = await enrol(old, await make_edge_server(channel, "tower"))
    new.api, new.link = old.api, old.link
    async with agent(old, certificate, EDGE_SERVER) as edge:
        await until(lambda: shown(old), is_connected)
        share_authority(old, new)
        await asyncio.to_thread(old.kill)
        await asyncio.to_thread(new.start)
        try:
            await until(lambda: shown(new), is_connected)
            await until(lambda: _epochs(edge), lambda epochs: len(epochs) == 2)
            assert edge.epochs == sorted(set(edge.epochs))
        finally:
            await asyncio.to_thread(new.kill)


async def _epochs(edge: Agent) -> list[int]:
    return edge.epochs
