"""What a simulated edge server makes of what it is told."""

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from console.simulation.positions import Behaviour, SimulatedPosition, take
from edge_agent.position.conditions import conditions
from tests.unit.edge_agent.position.test_status import picture
from waypost.api.control.v1 import condition_pb2
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment

NAME, GATEWAY = "projects/p/applications/a/positions/cell", "http://gateway"
IN_TWO_SECONDS, NEVER = Behaviour(deploy_s=2.0), Behaviour(fail_rate=1.0)


def assigned(version: str, *, generation: int = 1, deleting: bool = False, uid: str = "u") -> PositionAssignment:
    content = ModelVersion(name=f"versions/{version}", digest=f"sha256:{version}")
    return PositionAssignment(position=NAME, uid=uid, generation=generation, model_version=content, deleting=deleting)


def told(held: dict[str, SimulatedPosition], version: str, behaviour: Behaviour, now_s: float) -> SimulatedPosition:
    held.update(take(held, {NAME: assigned(version)}, behaviour, now_s))
    return held[NAME]


def state(position: SimulatedPosition) -> pb.PositionState.ValueType:
    return position.report(GATEWAY).status.state


def luck() -> random.Random:
    return random.Random(1)


def test_a_deployment_takes_its_time_and_then_serves() -> None:
    position = told({}, "1", IN_TWO_SECONDS, 10.0)
    assert state(position) == pb.POSITION_STATE_DEPLOYING
    assert not position.advance(IN_TWO_SECONDS, luck(), 11.9)
    assert position.advance(IN_TWO_SECONDS, luck(), 12.0)
    assert state(position) == pb.POSITION_STATE_IN_SERVICE
    assert [serving.digest for serving in position.report(GATEWAY).status.serving] == ["sha256:1"]


def test_a_simulated_agent_tells_the_conditions_that_a_real_one_tells() -> None:
    made = told({}, "1", NEVER, 0.0).report(GATEWAY).status.conditions
    assert [condition.type for condition in made] == [condition.type for condition in conditions(picture())]
    holds = [condition.type for condition in made if condition.status == condition_pb2.CONDITION_STATUS_TRUE]
    assert holds == ["ChangesApplied"], "nothing is held back, whatever does not run yet"


def test_another_version_is_served_beside_the_one_before_until_it_answers() -> None:
    held: dict[str, SimulatedPosition] = {}
    told(held, "1", Behaviour(), 0.0).advance(Behaviour(), luck(), 0.0)
    position = told(held, "2", IN_TWO_SECONDS, 5.0)
    assert state(position) == pb.POSITION_STATE_UPDATING
    assert position.report(GATEWAY).status.serving[0].digest == "sha256:1"
    position.advance(IN_TWO_SECONDS, luck(), 7.0)
    assert position.report(GATEWAY).status.serving[0].digest == "sha256:2"


def test_a_refused_version_leaves_the_one_before_serving() -> None:
    held: dict[str, SimulatedPosition] = {}
    told(held, "1", Behaviour(), 0.0).advance(Behaviour(), luck(), 0.0)
    position = told(held, "2", NEVER, 1.0)
    position.advance(NEVER, luck(), 1.0)
    status = position.report(GATEWAY).status
    assert status.state == pb.POSITION_STATE_DEGRADED
    assert [each.digest for each in status.rejected] == ["sha256:2"]
    assert [each.digest for each in status.serving] == ["sha256:1"]
    assert position.settled


def test_without_a_version_before_a_refused_one_leaves_nothing() -> None:
    position = told({}, "1", NEVER, 0.0)
    position.advance(NEVER, luck(), 0.0)
    assert state(position) == pb.POSITION_STATE_OUT_OF_SERVICE


def test_a_refused_version_is_not_tried_again() -> None:
    held: dict[str, SimulatedPosition] = {}
    told(held, "1", NEVER, 0.0).advance(NEVER, luck(), 0.0)
    assert told(held, "1", Behaviour(), 1.0).settled


def test_a_position_in_deletion_is_gone_at_once() -> None:
    positions = take({}, {NAME: assigned("1", deleting=True)}, Behaviour(), 0.0)
    assert positions[NAME].report(GATEWAY).gone


def test_a_position_of_the_same_name_made_anew_serves_nothing_yet() -> None:
    held: dict[str, SimulatedPosition] = {}
    told(held, "1", Behaviour(), 0.0).advance(Behaviour(), luck(), 0.0)
    anew = take(held, {NAME: assigned("1", uid="other")}, IN_TWO_SECONDS, 1.0)
    assert state(anew[NAME]) == pb.POSITION_STATE_DEPLOYING


@given(st.lists(st.sampled_from("123"), min_size=1), st.floats(0, 1))
def test_what_ever_it_is_told_in_the_end_it_serves_it_or_has_refused_it(
    versions: Sequence[str], fail_rate: float
) -> None:
    behaviour, rng, held = Behaviour(1.0, fail_rate), random.Random(2), {}
    for second, version in enumerate(versions):
        position = told(held, version, behaviour, float(second))
        position.advance(behaviour, rng, float(second))
    position.advance(behaviour, rng, len(versions) + 1.0)
    assert position.settled
    assert position.in_service or position.wanted in position.rejected
