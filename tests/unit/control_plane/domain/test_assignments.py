"""The planner from messages to messages."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.domain.assignments import Resources, plan_resources
from control_plane.domain.types import HeldReason
from waypost.api.control.v1 import credential_pb2, model_pb2, position_pb2
from waypost.api.control.v1.edge_server_pb2 import EdgeServer, EdgeServerSpec, MaintenanceWindow
from waypost.api.link.v1.agent_link_pb2 import EdgeServerAssignment, PositionAssignment, PositionReport
from waypost.api.link.v1.link_pb2 import Item

SERVER = "edgeServers/e"
APPLICATION = "projects/p/applications/a"
VERSION = model_pb2.ModelVersion(
    name=f"{APPLICATION}/models/m/versions/1",
    uid="version-uid",
    digest="sha256:1",
    framework="onnx",
    artifacts=[model_pb2.Artifact(path="model.onnx", digest="sha256:a", size_bytes=3)],
    state=model_pb2.MODEL_VERSION_STATE_AVAILABLE,
    labels={"stage": "new"},
    keeps_state=True,
)
POSITION = position_pb2.Position(
    name=f"{APPLICATION}/positions/p",
    uid="position-uid",
    generation=4,
    spec={"model_version": VERSION.name, "edge_server": SERVER, "replicas": {"min": 2}, "serve_as": "tower"},
)
TOKEN = credential_pb2.Credential(
    name=f"{APPLICATION}/credentials/c",
    kind=credential_pb2.CREDENTIAL_KIND_APPLICATION,
    secret_sha256="hash",
    expire_time=Timestamp(seconds=2000),
)


def changed(message: Any, **fields: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    copy.MergeFrom(type(message)(**fields))
    return copy


def world(**changes: Any) -> Resources:
    given: dict[str, Any] = {
        "revision": 10,
        "positions": [POSITION],
        "versions": [VERSION],
        "credentials": [TOKEN],
        "edge_servers": frozenset({SERVER}),
        "desired": {},
        "reports": [],
        **changes,
    }
    return Resources(**given)


def assignment(item: Item) -> PositionAssignment:
    return PositionAssignment.FromString(item.body)


def test_an_assignment_carries_all_that_the_agent_needs() -> None:
    outcome = plan_resources(world(), now_s=1000)
    (item,) = outcome.changed[SERVER]
    told = assignment(item)
    assert (item.name, item.generation) == (POSITION.name, 11)
    assert (told.position, told.uid, told.generation) == (POSITION.name, "position-uid", 4)
    assert told.spec == POSITION.spec
    assert told.model_version.artifacts == VERSION.artifacts
    assert told.model_version.state == model_pb2.MODEL_VERSION_STATE_UNSPECIFIED
    assert not told.model_version.labels
    assert told.model_version.keeps_state
    assert [(token.credential, token.sha256, token.expire_unix_s) for token in told.tokens] == [
        (TOKEN.name, "hash", 2000)
    ]


def test_planning_on_its_own_result_changes_nothing() -> None:
    first = plan_resources(world(), now_s=1000)
    again = plan_resources(world(revision=20, desired=first.changed), now_s=1000)
    assert again.changed == {}


def test_what_changes_without_meaning_to_the_edge_raises_no_generation() -> None:
    first = plan_resources(world(), now_s=1000)
    relabelled = changed(VERSION, labels={"stage": "old"}, state=model_pb2.MODEL_VERSION_STATE_WITHDRAWN)
    described = changed(POSITION, description="north", labels={"a": "b"})
    again = plan_resources(
        world(revision=20, desired=first.changed, versions=[relabelled], positions=[described]), now_s=1000
    )
    assert again.changed == {}


def test_the_bytes_of_an_item_stay_while_another_changes() -> None:
    other = changed(POSITION, name=f"{APPLICATION}/positions/q", uid="other-uid")
    first = plan_resources(world(positions=[POSITION, other]), now_s=1000)
    wider = changed(other, spec={"replicas": {"max": 3}}, generation=5)
    again = plan_resources(world(revision=20, positions=[POSITION, wider], desired=first.changed), now_s=1000)
    before, after = first.changed[SERVER], again.changed[SERVER]
    assert after[0] == before[0]
    assert (after[1].generation, assignment(after[1]).spec.replicas.max) == (21, 3)


def test_bytes_written_by_another_protobuf_are_read_as_what_they_mean() -> None:
    (item,) = plan_resources(world(), now_s=1000).changed[SERVER]
    whole = assignment(item)
    halves = PositionAssignment(position=whole.position, uid=whole.uid), PositionAssignment()
    halves[1].CopyFrom(whole)
    for field in ("position", "uid"):
        halves[1].ClearField(field)  # type: ignore[arg-type]
    reordered = halves[1].SerializeToString() + halves[0].SerializeToString()
    assert reordered != item.body
    stored = {SERVER: [Item(name=item.name, generation=item.generation, body=reordered)]}
    assert plan_resources(world(revision=20, desired=stored), now_s=1000).changed == {}


def test_a_deletion_stays_assigned_until_it_is_gone_and_then_is_finished() -> None:
    first = plan_resources(world(), now_s=1000)
    leaving = changed(POSITION, delete_time=Timestamp(seconds=1))
    second = plan_resources(world(revision=20, positions=[leaving], desired=first.changed), now_s=1000)
    assert assignment(second.changed[SERVER][0]).deleting
    assert second.finished == frozenset()
    gone = [(SERVER, PositionReport(uid="position-uid", gone=True))]
    third = plan_resources(world(revision=30, positions=[leaving], desired=second.changed, reports=gone), now_s=1000)
    assert (third.changed, third.finished) == ({SERVER: []}, {POSITION.name})


def test_a_version_that_was_refused_is_held_back() -> None:
    first = plan_resources(world(), now_s=1000)
    newer = changed(VERSION, name=f"{APPLICATION}/models/m/versions/2", digest="sha256:2")
    wanted = changed(POSITION, spec={"model_version": newer.name}, generation=5)
    report = PositionReport(uid="position-uid", status={"rejected": [{"digest": "sha256:2"}]})
    second = plan_resources(
        world(
            revision=20,
            positions=[wanted],
            versions=[VERSION, newer],
            desired=first.changed,
            reports=[(SERVER, report)],
        ),
        now_s=1000,
    )
    told = assignment(second.changed[SERVER][0])
    assert (told.spec.model_version, told.model_version.name, told.generation) == (VERSION.name, VERSION.name, 5)
    assert second.held[POSITION.name].reason is HeldReason.VERSION_REJECTED


def test_the_desired_state_of_an_edge_server_that_is_no_more_is_abandoned() -> None:
    first = plan_resources(world(), now_s=1000)
    outcome = plan_resources(world(positions=[], edge_servers=frozenset(), desired=first.changed), now_s=1000)
    assert (outcome.changed, outcome.abandoned) == ({}, {SERVER})


def server(allowed_until: Timestamp | None = None, **spec: Any) -> EdgeServer:
    return EdgeServer(name=SERVER, spec=EdgeServerSpec(**spec), changes_allowed_until=allowed_until)


def test_a_position_runs_the_software_that_it_names_else_that_of_its_edge_server() -> None:
    wanted = {SERVER: server(software_version="0.2.0")}
    (item,) = plan_resources(world(specified=wanted), now_s=0).changed[SERVER]
    assert assignment(item).spec.software_version == "0.2.0"
    named = changed(POSITION, spec={"software_version": "0.3.0"})
    (item,) = plan_resources(world(specified=wanted, positions=[named]), now_s=0).changed[SERVER]
    assert assignment(item).spec.software_version == "0.3.0"
    assert assignment(plan_resources(world(), now_s=0).changed[SERVER][0]).spec.software_version == ""


def test_other_software_of_an_edge_server_is_a_new_generation_and_the_same_is_none() -> None:
    wanted = {SERVER: server(software_version="0.2.0")}
    items = plan_resources(world(specified=wanted), now_s=0).changed[SERVER]
    again = world(specified=wanted, desired={SERVER: items}, revision=20)
    assert not plan_resources(again, now_s=0).changed
    (item,) = plan_resources(world(desired={SERVER: items}, revision=20), now_s=0).changed[SERVER]
    assert item.generation == 21


def test_an_edge_server_is_told_its_windows_once_and_again_when_they_change() -> None:
    window = MaintenanceWindow(start="02:00", duration=Duration(seconds=3600))
    wanted = {SERVER: server(maintenance_windows=[window])}
    items = plan_resources(world(specified=wanted), now_s=0).changed[SERVER]
    own = next(item for item in items if item.name == SERVER)
    assert (len(items), own.generation) == (2, 11)
    assert EdgeServerAssignment.FromString(own.body).maintenance_windows == [window]

    held = {"desired": {SERVER: items}, "revision": 20}
    assert not plan_resources(world(specified=wanted, **held), now_s=0).changed
    wanted = {SERVER: server(Timestamp(seconds=5), maintenance_windows=[window])}
    told = {item.name: item for item in plan_resources(world(specified=wanted, **held), now_s=0).changed[SERVER]}
    assert (told[SERVER].generation, told[POSITION.name].generation) == (21, 11)
    (left,) = plan_resources(world(specified={SERVER: server(software_version="")}, **held), now_s=0).changed[SERVER]
    assert left.name == POSITION.name


def test_the_leave_to_change_a_position_now_goes_down_with_it() -> None:
    allowed = changed(POSITION, changes_allowed_until=Timestamp(seconds=5000))
    items = plan_resources(world(positions=[allowed]), now_s=0).changed[SERVER]
    assert assignment(items[0]).changes_allowed_until.seconds == 5000
    assert not plan_resources(world(positions=[allowed], desired={SERVER: items}, revision=20), now_s=0).changed
