"""What a position shows, from what was reported and what only the control plane knows."""

from typing import Any

import pytest

from control_plane.domain.status import Surroundings, position_status
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_FALSE, CONDITION_STATUS_TRUE, Condition
from waypost.api.control.v1.edge_server_pb2 import (
    EDGE_SERVER_STATE_CONNECTED,
    EDGE_SERVER_STATE_DISCONNECTED,
    EdgeServer,
    EdgeServerStatus,
    RefusedAssignment,
)
from waypost.api.control.v1.model_pb2 import (
    MODEL_VERSION_STATE_AVAILABLE,
    MODEL_VERSION_STATE_IMPORTING,
    MODEL_VERSION_STATE_WITHDRAWN,
    ModelVersion,
)
from waypost.api.link.v1.agent_link_pb2 import PositionReport

NEW, OLD = (f"projects/p/applications/a/models/m/versions/{n}" for n in (2, 1))
POSITION = pb.Position(
    name="projects/p/applications/a/positions/p",
    uid="uid",
    generation=2,
    spec={"model_version": NEW, "edge_server": "edgeServers/e"},
)
AVAILABLE = ModelVersion(name=NEW, digest="sha256:2", state=MODEL_VERSION_STATE_AVAILABLE)
WITHDRAWN = ModelVersion(name=NEW, digest="sha256:2", state=MODEL_VERSION_STATE_WITHDRAWN)
CONNECTED = EdgeServerStatus(
    state=EDGE_SERVER_STATE_CONNECTED, conditions=[Condition(type="AgentConnected", status=CONDITION_STATUS_TRUE)]
)
LOST = EdgeServerStatus(
    state=EDGE_SERVER_STATE_DISCONNECTED,
    conditions=[
        Condition(
            type="AgentConnected", status=CONDITION_STATUS_FALSE, reason="AGENT_LOST", message="silent", hint="look"
        )
    ],
)


def report(state: int = pb.POSITION_STATE_IN_SERVICE, *, serving: str = NEW, generation: int = 2, **more: Any) -> Any:
    status = pb.PositionStatus(
        state=state,  # type: ignore[arg-type]
        message="as reported",
        observed_generation=generation,
        serving=[{"model_version": serving}],  # type: ignore[list-item]
        **more,
    )
    return PositionReport(uid="uid", status=status)


def shown(position: pb.Position = POSITION, **around: Any) -> pb.PositionStatus:
    defaults: dict[str, Any] = {
        "report": report(),
        "edge_server": EdgeServer(name="edgeServers/e"),
        "edge_server_status": CONNECTED,
        "version": AVAILABLE,
    }
    return position_status(position, Surroundings(**{**defaults, **around}))


def condition(status: pb.PositionStatus, type_: str) -> Condition:
    (found,) = [judged for judged in status.conditions if judged.type == type_]
    return found


def deleting() -> pb.Position:
    position = pb.Position()
    position.CopyFrom(POSITION)
    position.delete_time.seconds = 1
    return position


def test_a_position_that_serves_as_specified_is_shown_as_reported() -> None:
    status = shown()
    assert (status.state, status.message) == (pb.POSITION_STATE_IN_SERVICE, "as reported")
    assert condition(status, "AgentConnected").status == CONDITION_STATUS_TRUE
    assert condition(status, "VersionAvailable").status == CONDITION_STATUS_TRUE


@pytest.mark.parametrize(
    ("around", "reason"),
    [
        ({"edge_server": None, "edge_server_status": None}, "EDGE_SERVER_NOT_FOUND"),
        ({"edge_server_status": None}, "AGENT_NEVER_CONNECTED"),
        ({"edge_server_status": LOST}, "AGENT_LOST"),
    ],
)
def test_a_pending_position_says_what_it_waits_for(around: dict[str, Any], reason: str) -> None:
    status = shown(report=None, **around)
    judged = condition(status, "AgentConnected")
    assert status.state == pb.POSITION_STATE_PENDING
    assert (judged.reason, status.message, status.hint) == (reason, judged.message, judged.hint)
    assert status.hint


def test_a_pending_position_with_everything_in_place_waits_for_its_agent() -> None:
    status = shown(report=None)
    assert status.state == pb.POSITION_STATE_PENDING
    assert "waiting for the agent" in status.message


def test_a_version_that_cannot_be_given_out_keeps_a_position_pending() -> None:
    importing = ModelVersion(name=NEW, state=MODEL_VERSION_STATE_IMPORTING)
    for version, reason in (
        (None, "VERSION_NOT_FOUND"),
        (importing, "VERSION_IMPORTING"),
        (WITHDRAWN, "VERSION_WITHDRAWN"),
    ):
        status = shown(report=None, version=version)
        assert condition(status, "VersionAvailable").reason == reason
        assert status.message == condition(status, "VersionAvailable").message


def test_a_lost_agent_leaves_the_last_reported_state_and_says_so_in_a_condition() -> None:
    status = shown(edge_server_status=LOST)
    assert (status.state, status.message) == (pb.POSITION_STATE_IN_SERVICE, "as reported")
    assert condition(status, "AgentConnected").reason == "AGENT_LOST"


def test_a_withdrawn_version_that_serves_serves_on_and_the_position_says_so() -> None:
    status = shown(version=WITHDRAWN)
    assert status.state == pb.POSITION_STATE_IN_SERVICE
    assert condition(status, "VersionAvailable").reason == "VERSION_WITHDRAWN"


def test_serving_something_else_than_the_spec_asks_for_is_never_in_service() -> None:
    rejected = [{"model_version": NEW, "digest": "sha256:2", "reason": "START_FAILED", "evidence": "exit code 3"}]
    status = shown(report=report(serving=OLD, rejected=rejected))
    assert status.state == pb.POSITION_STATE_DEGRADED
    assert "START_FAILED: exit code 3" in status.message
    assert "clear the rejection" in status.hint
    assert shown(report=report(serving=OLD), version=WITHDRAWN).state == pb.POSITION_STATE_DEGRADED


def test_a_generation_that_is_on_its_way_is_updating() -> None:
    status = shown(report=report(serving=OLD, generation=1))
    assert status.state == pb.POSITION_STATE_UPDATING
    assert "generation 2" in status.message
    cut_off = shown(report=report(serving=OLD, generation=1), edge_server_status=LOST)
    assert (cut_off.state, cut_off.hint) == (pb.POSITION_STATE_UPDATING, "look")
    assert "silent" in cut_off.message


def test_a_report_of_trouble_is_not_painted_over() -> None:
    for state in (pb.POSITION_STATE_OUT_OF_SERVICE, pb.POSITION_STATE_DEPLOYING, pb.POSITION_STATE_DEGRADED):
        assert shown(report=report(state, serving=OLD, generation=1)).state == state


def test_a_position_in_deletion_is_deleting_whatever_was_reported() -> None:
    assert shown(deleting()).state == pb.POSITION_STATE_DELETING
    assert shown(deleting(), report=None).state == pb.POSITION_STATE_DELETING
    draining = shown(deleting(), report=report(pb.POSITION_STATE_DELETING))
    assert (draining.state, draining.message) == (pb.POSITION_STATE_DELETING, "as reported")
    for last in (report(), report(pb.POSITION_STATE_DELETING), None):
        stuck = shown(deleting(), report=last, edge_server_status=LOST)
        assert (stuck.state, stuck.hint) == (pb.POSITION_STATE_DELETING, "look")
        assert stuck.message == "leaves 'e' as soon as its agent is back: silent"


def test_a_report_about_another_uid_counts_for_nothing() -> None:
    other = report()
    other.uid = "other"
    assert shown(report=other).state == pb.POSITION_STATE_PENDING


def test_asking_twice_gives_the_same_bytes() -> None:
    for around in ({}, {"edge_server_status": LOST}, {"report": None, "edge_server": None}, {"version": None}):
        once, again = (shown(**around).SerializeToString(deterministic=True) for _ in range(2))
        assert once == again
        assert shown(**around).message


def accepted(*refused: RefusedAssignment, reason: str = "") -> EdgeServerStatus:
    """Of a connected edge server that took all but these."""
    status = EdgeServerStatus()
    status.CopyFrom(CONNECTED)
    whole = CONDITION_STATUS_FALSE if refused or reason else CONDITION_STATUS_TRUE
    status.conditions.add(type="DesiredStateAccepted", status=whole, reason=reason or "ITEM_REFUSED" * bool(refused))
    status.refused.extend(refused)
    return status


OURS = RefusedAssignment(position=POSITION.name, reason="BAD_ASSIGNMENT", message="no digest", hint="upgrade")
THEIRS = RefusedAssignment(position=f"{POSITION.name}-2", reason="BAD_ASSIGNMENT", message="no digest")


def test_a_position_whose_assignment_was_refused_says_why_and_that_it_serves_what_it_had() -> None:
    status = shown(report=report(generation=1), edge_server_status=accepted(OURS))
    judged = condition(status, "AssignmentAccepted")
    assert (judged.reason, judged.message, judged.hint) == ("BAD_ASSIGNMENT", "no digest", "upgrade")
    assert status.state == pb.POSITION_STATE_DEGRADED
    assert "no digest" in status.message


def test_a_position_that_never_ran_says_why_its_assignment_was_refused() -> None:
    status = shown(report=None, edge_server_status=accepted(OURS))
    assert (status.state, status.message, status.hint) == (pb.POSITION_STATE_PENDING, "no digest", "upgrade")


def test_what_was_refused_of_another_position_is_no_trouble_of_this_one() -> None:
    status = shown(edge_server_status=accepted(THEIRS))
    assert condition(status, "AssignmentAccepted").status == CONDITION_STATUS_TRUE
    assert status.state == pb.POSITION_STATE_IN_SERVICE


def test_a_desired_state_that_was_refused_whole_is_every_positions_trouble() -> None:
    status = shown(report=None, edge_server_status=accepted(reason="PRUNE_REFUSED"))
    assert condition(status, "AssignmentAccepted").reason == "PRUNE_REFUSED"


def test_what_waits_for_somebody_on_the_machine_says_so() -> None:
    held = EdgeServerStatus()
    held.CopyFrom(CONNECTED)
    held.conditions.add(
        type="FollowsControlPlane",
        status=CONDITION_STATUS_FALSE,
        reason="HELD",
        message="changes are held",
        hint="waypost agent resume",
    )
    changed = shown(report=report(generation=1), edge_server_status=held)
    assert changed.state == pb.POSITION_STATE_UPDATING
    assert changed.message.endswith("changes are held")
    assert changed.hint == "waypost agent resume"
    new = shown(report=None, edge_server_status=held)
    assert (new.state, new.message) == (pb.POSITION_STATE_PENDING, "changes are held")
    assert shown(edge_server_status=held).message == "as reported"
