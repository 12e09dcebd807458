"""Watching: snapshot, its end, then what changes, each thing in its newest form."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from control_plane.store import Delete, records
from control_plane.store.observed_rows import POSITION_REPORT, report_name
from control_plane.store.resources import POSITION as POSITION_KIND
from control_plane.store.resources import encode_desired
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, POSITION, PROJECT, VERSION, Api, with_api
from waypost.api.control.v1 import edge_server_pb2, model_pb2, position_pb2, project_pb2, subscription_pb2
from waypost.api.control.v1.project_pb2 import ResourceAmounts
from waypost.api.control.v1.watch_pb2 import WatchRequest, WatchResponse
from waypost.errors import Invalid


class Watcher:
    """Reads a watch, and checks on the way that the revision never falls."""

    def __init__(self, stream: Any) -> None:
        self._stream = aiter(stream)
        self._revision = 0

    async def next(self) -> WatchResponse:
        response: WatchResponse = await asyncio.wait_for(anext(self._stream), 5)
        assert response.revision >= self._revision
        self._revision = response.revision
        return response

    async def snapshot(self) -> list[str]:
        """Names, in the order sent."""
        names = []
        while (response := await self.next()).WhichOneof("change") != "snapshot_end":
            names.append(name_of(response))
        return names


def name_of(response: WatchResponse) -> str:
    change = response.WhichOneof("change")
    assert change
    return response.deleted if change == "deleted" else getattr(response, change).name


@asynccontextmanager
async def watching(api: Api, *names: str) -> AsyncIterator[Watcher]:
    async with aclosing(api.watch.Watch(WatchRequest(names=names))) as stream:
        yield Watcher(stream)


@with_api
async def test_the_snapshot_shows_owners_before_what_they_own_and_then_ends(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    async with watching(api) as watcher:
        names = await watcher.snapshot()
        assert names == [PROJECT, APPLICATION, f"{APPLICATION}/models/gru", VERSION, POSITION, EDGE_SERVER]


@with_api
async def test_an_empty_store_has_an_empty_snapshot(api: Api) -> None:
    async with watching(api) as watcher:
        assert await watcher.snapshot() == []


@with_api
async def test_a_change_is_sent_and_a_deletion_too(api: Api) -> None:
    async with watching(api) as watcher:
        await watcher.snapshot()
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
        assert (await watcher.next()).project.name == PROJECT
        await api.project.UpdateProject(project_pb2.UpdateProjectRequest(project={"name": PROJECT, "description": "x"}))
        assert (await watcher.next()).project.description == "x"
        await api.project.DeleteProject(project_pb2.DeleteProjectRequest(name=PROJECT))
        assert (await watcher.next()).deleted == PROJECT


@with_api
async def test_a_report_from_the_edge_is_sent_with_its_position(api: Api) -> None:
    await api.make_place()
    await api.connect_agent()
    made = await api.make_position()
    async with watching(api, POSITION) as watcher:
        assert await watcher.snapshot() == [POSITION]
        await api.report(made)
        assert (await watcher.next()).position.status.state == position_pb2.POSITION_STATE_IN_SERVICE
        await api.report(made)  # says nothing new
        await api.connect_agent(False)
        conditions = {c.type: c.reason for c in (await watcher.next()).position.status.conditions}
        assert conditions["AgentConnected"] == "AGENT_LOST"
        await api.make_version(state=model_pb2.MODEL_VERSION_STATE_WITHDRAWN)
        conditions = {c.type: c.reason for c in (await watcher.next()).position.status.conditions}
        assert conditions["VersionAvailable"] == "VERSION_WITHDRAWN"
        await api.stores.observed.delete(POSITION_REPORT, [report_name(EDGE_SERVER, POSITION)])
        assert (await watcher.next()).position.status.state == position_pb2.POSITION_STATE_PENDING


@with_api
async def test_an_edge_server_is_sent_when_its_state_changes(api: Api) -> None:
    await api.make_edge_server()
    async with watching(api, "edgeServers") as watcher:
        assert await watcher.snapshot() == [EDGE_SERVER]
        await api.connect_agent()
        assert (await watcher.next()).edge_server.status.state == edge_server_pb2.EDGE_SERVER_STATE_CONNECTED


@with_api
async def test_only_what_was_asked_for_is_sent(api: Api) -> None:
    await api.make_place()
    for id_ in ("uav2", "other"):
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=id_))
    async with watching(api, APPLICATION, PROJECT, "projects/uav2") as watcher:
        names = await watcher.snapshot()
        assert len(names) == len(set(names))
        assert set(names) == {PROJECT, APPLICATION, f"{APPLICATION}/models/gru", VERSION, "projects/uav2"}
        for id_ in ("other", "uav2"):
            update = {"name": f"projects/{id_}", "description": "x"}
            await api.project.UpdateProject(project_pb2.UpdateProjectRequest(project=update))
        assert name_of(await watcher.next()) == "projects/uav2"


@with_api
async def test_what_changes_faster_than_the_wire_is_sent_in_its_newest_form(api: Api) -> None:
    await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id="uav"))
    async with watching(api) as watcher:
        await watcher.snapshot()
        for count in range(1, 51):
            update = {"name": PROJECT, "description": str(count)}
            await api.project.UpdateProject(project_pb2.UpdateProjectRequest(project=update))
        seen = []
        while not seen or seen[-1] != "50":
            seen.append((await watcher.next()).project.description)
        assert seen == sorted(seen, key=int)


@with_api
async def test_records_that_are_no_resources_are_never_sent(api: Api) -> None:
    async with watching(api) as watcher:
        await watcher.snapshot()
        await api.put(encode_desired(EDGE_SERVER, []))
        await api.make_edge_server()
        assert name_of(await watcher.next()) == EDGE_SERVER


@with_api
async def test_an_activation_token_is_never_shown(api: Api) -> None:
    spec = {"endpoint": "127.0.0.1:7610", "project": PROJECT, "activation_token": "secret"}
    async with watching(api) as watcher:
        await watcher.snapshot()
        made = await api.subscription.CreateSubscription(
            subscription_pb2.CreateSubscriptionRequest(subscription_id="s", subscription={"spec": spec})
        )
        assert made.subscription.spec.activation_token == ""
        sent = (await watcher.next()).subscription
        assert (sent.spec.endpoint, sent.spec.activation_token) == ("127.0.0.1:7610", "")


def test_a_watcher_that_slept_too_long_is_told_of_everything_that_went(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "TOMBSTONES_MAX", 0)

    @with_api
    async def scenario(api: Api) -> None:
        await api.make_place()
        await api.make_position()
        async with watching(api) as watcher:
            await watcher.snapshot()
            await api.stores.records.commit([Delete(POSITION)])
            assert (await watcher.next()).project.status.used == ResourceAmounts()
            assert (await watcher.next()).deleted == POSITION
            assert await api.kit.resources.find(POSITION_KIND, POSITION) is None

    scenario()


@with_api
async def test_a_project_is_sent_again_when_its_positions_use_more(api: Api) -> None:
    await api.make_place()
    async with watching(api) as watcher:
        await watcher.snapshot()
        await api.make_position()
        sent = [await watcher.next(), await watcher.next()]
        assert {response.WhichOneof("change") for response in sent} == {"project", "position"}
        (project,) = [response.project for response in sent if response.HasField("project")]
        assert project.status.used.positions == 1


@with_api
async def test_names_that_could_never_match_are_refused(api: Api) -> None:
    for name in ("", "uav", "projects/", "credentials"):
        with pytest.raises(Invalid):
            await anext(aiter(api.watch.Watch(WatchRequest(names=[name]))))
