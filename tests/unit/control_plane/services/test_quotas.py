"""Quotas of projects, at the services: also when two take of one at the same time."""

import asyncio
from typing import Any

import pytest

from control_plane.store import Delete
from control_plane.store.resources import used_name
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, MODEL, PROJECT, VERSION, Api, with_api
from waypost.api.control.v1 import position_pb2
from waypost.api.control.v1 import project_pb2 as pb
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN
from waypost.errors import Denied, Exhausted, Invalid, MeshError


async def limit(api: Api, **quota: int) -> pb.Project:
    request = pb.UpdateProjectRequest(
        project={"name": PROJECT, "spec": {"quota": quota}}, update_mask={"paths": ["spec.quota"]}
    )
    updated: pb.Project = (await api.project.UpdateProject(request)).project
    return updated


async def create(api: Api, position_id: str, **spec: Any) -> position_pb2.Position:
    request = position_pb2.CreatePositionRequest(
        parent=APPLICATION,
        position_id=position_id,
        position={"spec": {"model_version": VERSION, "edge_server": EDGE_SERVER, **spec}},
    )
    created: position_pb2.Position = (await api.position.CreatePosition(request)).position
    return created


async def used(api: Api) -> pb.ResourceAmounts:
    project = (await api.project.GetProject(pb.GetProjectRequest(name=PROJECT))).project
    return project.status.used


@with_api
async def test_a_project_shows_its_quota_and_what_is_used(api: Api) -> None:
    await api.make_place()
    assert await used(api) == pb.ResourceAmounts()
    assert (await limit(api, positions=2, cpu_millis=4000)).spec.quota.positions == 2
    await create(api, "a", replicas={"min": 2}, resources={"cpu_millis": 500})
    assert await used(api) == pb.ResourceAmounts(positions=1, replicas=2, cpu_millis=1000)
    listed = (await api.project.ListProjects(pb.ListProjectsRequest())).projects
    assert listed[0].status.used.replicas == 2


@with_api
async def test_more_than_the_quota_is_refused_and_nothing_is_written(api: Api) -> None:
    await api.make_place()
    await limit(api, replicas=3)
    await create(api, "a", replicas={"min": 2})
    with pytest.raises(Exhausted) as refused:
        await create(api, "b", replicas={"min": 1, "max": 2})
    assert refused.value.reason == "QUOTA_EXCEEDED"
    await create(api, "b")
    with pytest.raises(Exhausted):
        await update(api, "b", {"replicas": {"min": 2}}, "spec.replicas")
    assert await used(api) == pb.ResourceAmounts(positions=2, replicas=3)


async def update(api: Api, position_id: str, spec: Any, path: str) -> None:
    name = f"{APPLICATION}/positions/{position_id}"
    request = position_pb2.UpdatePositionRequest(position={"name": name, "spec": spec}, update_mask={"paths": [path]})
    await api.position.UpdatePosition(request)


@with_api
async def test_a_quota_below_what_is_there_stops_nothing_that_asks_for_no_more(api: Api) -> None:
    await api.make_place()
    await create(api, "a", replicas={"min": 4})
    await limit(api, replicas=2)
    await update(api, "a", {"serve_as": "other"}, "spec.serve_as")
    await update(api, "a", {"replicas": {"min": 3}}, "spec.replicas")
    with pytest.raises(Exhausted):
        await update(api, "a", {"replicas": {"min": 4}}, "spec.replicas")


@with_api
async def test_of_many_at_the_same_time_only_as_many_as_fit_come_through(api: Api) -> None:
    await api.make_place()
    await limit(api, positions=3)
    made = await asyncio.gather(*(create(api, f"p{n}") for n in range(10)), return_exceptions=True)
    assert sum(isinstance(each, position_pb2.Position) for each in made) == 3
    refused = [each for each in made if isinstance(each, MeshError)]
    assert {each.reason for each in refused} == {"QUOTA_EXCEEDED"}
    assert (await used(api)).positions == 3


@with_api
async def test_what_is_to_be_created_counts_in_a_dry_run_and_leaves_nothing_behind(api: Api) -> None:
    await api.make_place()
    await limit(api, positions=1)
    await create(api, "a")
    request = position_pb2.CreatePositionRequest(
        parent=APPLICATION,
        position_id="b",
        position={"spec": {"model_version": VERSION, "edge_server": EDGE_SERVER}},
        validate_only=True,
    )
    with pytest.raises(Exhausted):
        await api.position.CreatePosition(request)


@with_api
async def test_the_record_of_usage_goes_with_its_project(api: Api) -> None:
    await api.make_place()
    await limit(api, positions=1)
    name = (await create(api, "a")).name
    assert await api.stores.records.read(used_name(PROJECT)) is not None
    going = [name, VERSION, MODEL, APPLICATION]
    await api.stores.records.commit([Delete(each) for each in going])
    await api.project.DeleteProject(pb.DeleteProjectRequest(name=PROJECT))
    assert await api.stores.records.read(used_name(PROJECT)) is None


@with_api
async def test_only_an_administrator_of_everything_says_what_a_project_may_have(api: Api) -> None:
    await api.make_application()
    async with api.with_role(ROLE_ADMIN, PROJECT) as of_the_project:
        with pytest.raises(Denied):
            await limit(of_the_project, positions=1000)
    with pytest.raises(Invalid) as refused:
        await limit(api, replicas=-1)
    assert refused.value.metadata["field"] == "project.spec.quota.replicas"
