"""Positions: what may be asked for, how specs are numbered, what is shown."""

import math
from typing import Any

import pytest

from control_plane.store.resources import MODEL_VERSION
from tests.unit.control_plane.services.api import APPLICATION, EDGE_SERVER, MODEL, POSITION, VERSION, Api, with_api
from waypost.api.control.v1 import application_pb2, credential_pb2, event_pb2, model_pb2
from waypost.api.control.v1 import position_pb2 as pb
from waypost.errors import AlreadyExists, Invalid, NotFound, Precondition


async def get(api: Api) -> pb.Position:
    found: pb.Position = (await api.position.GetPosition(pb.GetPositionRequest(name=POSITION))).position
    return found


async def change(api: Api, *mask: str, **fields: Any) -> pb.Position:
    options = {name: fields.pop(name) for name in ("allow_missing", "validate_only") if name in fields}
    position = pb.Position(name=POSITION, **fields)
    request = pb.UpdatePositionRequest(position=position, update_mask={"paths": mask}, **options)
    changed: pb.Position = (await api.position.UpdatePosition(request)).position
    return changed


def scaled_down(**rules: Any) -> dict[str, Any]:
    return {"autoscaling": {"scale_down": rules}}


@with_api
async def test_a_new_position_is_pending_and_says_why(api: Api) -> None:
    await api.make_place()
    made = await api.make_position()
    assert (made.generation, made.status.state, made.status.observed_generation) == (1, pb.POSITION_STATE_PENDING, 0)
    assert "never connected" in made.status.message
    assert made.status.hint
    await api.connect_agent()
    assert "waiting for the agent" in (await get(api)).status.message


@with_api
async def test_what_cannot_be_deployed_is_refused_when_it_is_written(api: Api) -> None:
    await api.make_place()
    for state, reason in (
        (model_pb2.MODEL_VERSION_STATE_IMPORTING, "VERSION_IMPORTING"),
        (model_pb2.MODEL_VERSION_STATE_INVALID, "VERSION_INVALID"),
        (model_pb2.MODEL_VERSION_STATE_WITHDRAWN, "VERSION_WITHDRAWN"),
    ):
        await api.make_version("2", state)
        with pytest.raises(Precondition) as refused:
            await api.make_position(model_version=f"{MODEL}/versions/2")
        assert refused.value.reason == reason
        assert refused.value.hint
    for spec, reason in (
        ({"model_version": f"{MODEL}/versions/none"}, "VERSION_NOT_FOUND"),
        ({"edge_server": "edgeServers/none"}, "EDGE_SERVER_NOT_FOUND"),
    ):
        with pytest.raises(Precondition) as refused:
            await api.make_position(**spec)
        assert refused.value.reason == reason


@with_api
async def test_a_version_that_keeps_state_has_one_replica(api: Api) -> None:
    await api.make_place()
    stateful = f"{MODEL}/versions/2"
    await api.make_version("2", keeps_state=True)
    for replicas in ({"min": 2}, {"min": 1, "max": 2}):
        with pytest.raises(Precondition) as refused:
            await api.make_position(model_version=stateful, replicas=replicas)
        assert refused.value.reason == "STATE_NEEDS_ONE_REPLICA"
        assert refused.value.hint
    await api.make_position(replicas={"min": 1, "max": 2})
    with pytest.raises(Precondition):
        await change(api, "spec.model_version", spec={"model_version": stateful})
    await change(api, "spec", spec={"model_version": stateful, "edge_server": EDGE_SERVER, "replicas": {"max": 1}})
    with pytest.raises(Precondition):
        await change(api, "spec.replicas", spec={"replicas": {"max": 2}})
    await change(api, "spec.replicas", spec={})


@with_api
async def test_a_spec_that_makes_no_sense_is_refused_with_its_field(api: Api) -> None:
    await api.make_place()
    for field, spec in (
        ("model_version", {"model_version": "path/gru/1"}),
        ("model_version", {"model_version": ""}),
        ("model_version", {"model_version": "projects/other/applications/path/models/gru/versions/1"}),
        ("edge_server", {"edge_server": "edge-1"}),
        ("replicas.min", {"replicas": {"min": 65}}),
        ("replicas.min", {"replicas": {"min": -1}}),
        ("replicas.max", {"replicas": {"min": 3, "max": 2}}),
        ("serve_as", {"serve_as": "has space"}),
        ("resources.cpu_millis", {"resources": {"cpu_millis": -1}}),
        ("on_disconnect.on_return", {"on_disconnect": {"on_return": 9}}),
        ("autoscaling.targets.cpu", {"autoscaling": {"targets": {"cpu": 0.7}}}),
        ("autoscaling.targets.memory", {"autoscaling": {"targets": {"memory": 0.7}}}),
        ("autoscaling.targets.cpu", {"autoscaling": {"targets": {"cpu": 70}}, "resources": {"cpu_millis": 500}}),
        ("autoscaling.targets.deadline_miss_rate", {"autoscaling": {"targets": {"deadline_miss_rate": math.nan}}}),
        ("autoscaling.targets.concurrency", {"autoscaling": {"targets": {"concurrency": -1}}}),
        ("autoscaling.targets.concurrency", {"autoscaling": {"targets": {"concurrency": math.inf}}}),
        ("autoscaling.targets.queue_time", {"autoscaling": {"targets": {"queue_time": {"nanos": -1}}}}),
        ("autoscaling.scale_up.tolerance", {"autoscaling": {"scale_up": {"tolerance": 2.0}}}),
        ("autoscaling.scale_up.select_policy", {"autoscaling": {"scale_up": {"select_policy": 9}}}),
        ("autoscaling.scale_down.stabilization_window", scaled_down(stabilization_window={"seconds": 3601})),
        ("autoscaling.scale_down.policies", scaled_down(policies=[{}] * 9)),
        ("autoscaling.scale_down.policies[0].type", scaled_down(policies=[{"value": 1}])),
        ("autoscaling.scale_down.policies[0].value", scaled_down(policies=[{"type": 1}])),
        ("autoscaling.scale_down.policies[0].period", scaled_down(policies=[{"type": 1, "value": 1}])),
    ):
        with pytest.raises(Invalid) as refused:
            await api.make_position(**spec)
        assert refused.value.metadata["field"] == f"position.spec.{field}"


@with_api
async def test_the_generation_rises_exactly_when_the_spec_changes(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    assert (await change(api, "description", description="north")).generation == 1
    assert (await change(api, "spec.replicas", spec={"replicas": {"min": 2}})).generation == 2
    assert (await change(api, "spec.replicas.min", spec={"replicas": {"min": 2}})).generation == 2
    widened = await change(api, "spec.replicas.max", spec={"replicas": {"max": 4}})
    assert (widened.generation, widened.spec.replicas.min, widened.spec.replicas.max) == (3, 2, 4)
    assert widened.spec.model_version == VERSION


@with_api
async def test_checking_only_writes_nothing(api: Api) -> None:
    await api.make_place()
    before = await api.stores.records.revision()
    position = pb.Position(spec={"model_version": VERSION, "edge_server": EDGE_SERVER})
    request = pb.CreatePositionRequest(parent=APPLICATION, position_id="tower-7", position=position, validate_only=True)
    checked = (await api.position.CreatePosition(request)).position
    assert (checked.name, checked.etag) == (POSITION, "")
    assert await api.stores.records.revision() == before
    with pytest.raises(NotFound):
        await get(api)
    made = await change(api, spec=position.spec, allow_missing=True, validate_only=True)
    assert made.generation == 1
    await api.make_position()
    seen = await change(api, "spec.replicas", spec={"replicas": {"min": 2}}, validate_only=True)
    assert seen.generation == 2
    assert (await get(api)).generation == 1
    with pytest.raises(Precondition):
        await change(api, "spec.edge_server", spec={"edge_server": "edgeServers/none"}, validate_only=True)


@with_api
async def test_a_position_whose_version_was_withdrawn_can_still_be_described(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    await api.make_version("1", model_pb2.MODEL_VERSION_STATE_WITHDRAWN)
    assert (await change(api, "description", description="still here")).description == "still here"
    with pytest.raises(Precondition):
        await change(api, "spec.model_version", spec={"model_version": f"{MODEL}/versions/none"})


@with_api
async def test_a_position_in_deletion_shows_it_and_takes_no_more_changes(api: Api) -> None:
    await api.make_place()
    await api.connect_agent()
    made = await api.make_position()
    await api.report(made)
    for _ in range(2):
        await api.position.DeletePosition(pb.DeletePositionRequest(name=POSITION))
    leaving = await get(api)
    assert leaving.status.state == pb.POSITION_STATE_DELETING
    assert leaving.HasField("delete_time")
    with pytest.raises(Precondition) as refused:
        await change(api, "spec.replicas", spec={"replicas": {"min": 2}})
    assert refused.value.reason == "POSITION_DELETING"
    with pytest.raises(AlreadyExists):
        await api.make_position()


@with_api
async def test_what_the_agent_reported_is_shown(api: Api) -> None:
    await api.make_place()
    await api.connect_agent()
    made = await api.make_position()
    await api.report(made)
    listed = (await api.position.ListPositions(pb.ListPositionsRequest(parent=APPLICATION))).positions
    assert [position.status.state for position in listed] == [pb.POSITION_STATE_IN_SERVICE]
    assert listed[0] == await get(api)


@with_api
async def test_a_report_about_a_position_of_the_same_name_before_is_not_believed(api: Api) -> None:
    await api.make_place()
    made = await api.make_position()
    made.uid = "of-the-one-before"
    await api.report(made)
    assert (await get(api)).status.state == pb.POSITION_STATE_PENDING


@with_api
async def test_events_tell_who_changed_what(api: Api) -> None:
    await api.make_place()
    await api.make_position()
    await change(api, "spec.replicas", spec={"replicas": {"min": 2}})
    await api.position.DeletePosition(pb.DeletePositionRequest(name=POSITION))
    request = event_pb2.ListEventsRequest(resource=APPLICATION, page_size=2)
    page = await api.event.ListEvents(request)
    assert [event.reason for event in page.events] == ["DELETION_ASKED", "SPEC_CHANGED"]
    assert "by credentials/tester" in page.events[1].message
    request.page_token = page.next_page_token
    assert [event.reason for event in (await api.event.ListEvents(request)).events] == ["CREATED"]


@with_api
async def test_a_race_for_the_last_version_is_noticed(api: Api) -> None:
    """The version goes between the check and the commit: the check is made anew."""
    await api.make_place()
    withdrawn = model_pb2.ModelVersion(name=VERSION, state=model_pb2.MODEL_VERSION_STATE_WITHDRAWN)
    commit, races = api.stores.records.commit, [MODEL_VERSION.encode(VERSION, withdrawn)]

    async def slow_commit(changes: Any, **conditions: Any) -> int:
        if races:
            await commit([races.pop()])
        return await commit(changes, **conditions)

    object.__setattr__(api.stores.records, "commit", slow_commit)
    with pytest.raises(Precondition) as refused:
        await api.make_position()
    assert refused.value.reason == "VERSION_WITHDRAWN"


@with_api
async def test_deleting_the_application_takes_its_tokens_along(api: Api) -> None:
    await api.make_application()
    _, secret = await api.credentials.issue(APPLICATION, "xapp", credential_pb2.Credential())
    assert secret
    await api.application.DeleteApplication(application_pb2.DeleteApplicationRequest(name=APPLICATION))
    assert (await api.stores.records.scan(f"{APPLICATION}/")).records == ()
