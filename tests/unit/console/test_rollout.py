"""What `deploy --wait` makes of a position, as a table."""

from typing import Any

import pytest

from console.rollout import Outcome, judge, judge_version
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.control.v1.position_pb2 import Position, PositionSpec, PositionStatus, RejectedVersion

PENDING, DEPLOYING, IN_SERVICE, DEGRADED, UPDATING, OUT_OF_SERVICE, DELETING = range(1, 8)

WANTED = "projects/u/applications/a/models/m/versions/2"
NAME = "projects/u/applications/a/positions/p"

CORRUPT = Condition(type="ArtifactReady", status=2, reason="DIGEST_MISMATCH", message="model.onnx is not sha256:12")
CRASHED = Condition(type="HostsReady", status=2, reason="CRASHED", message="a replica does not run (start 2)")
AGENT_AWAY = Condition(type="AgentConnected", status=2, reason="AGENT_LOST", message="not seen for 40 s")
NOT_KNOWN = Condition(type="ArtifactReady", status=3, reason="DIGEST_MISMATCH", message="nothing was reported")
WITHDRAWN = Condition(type="VersionAvailable", status=2, reason="VERSION_WITHDRAWN", message="taken back")
CLOSED = Condition(type="ChangesApplied", status=2, reason="MAINTENANCE_WINDOW", message="it waits until Sunday")
IMPORTING = Condition(type="VersionAvailable", status=2, reason="VERSION_IMPORTING", message="being imported")


def position(
    state: int,
    *,
    observed: int = 2,
    generation: int = 2,
    conditions: Any = (),
    rejected: Any = (),
    held: int = 0,
) -> Position:
    status = PositionStatus(
        state=state,
        message="...",
        observed_generation=observed,
        conditions=conditions,
        rejected=rejected,
        held_generation=held,
    )
    return Position(name=NAME, generation=generation, spec=PositionSpec(model_version=WANTED), status=status)


@pytest.mark.parametrize(
    ("form", "outcome", "reason"),
    [
        pytest.param(position(PENDING, observed=0), Outcome.WAITING, "", id="no agent has taken it"),
        pytest.param(position(DEPLOYING), Outcome.WAITING, "", id="hosts start"),
        pytest.param(position(IN_SERVICE), Outcome.ARRIVED, "", id="in service"),
        pytest.param(position(IN_SERVICE, observed=1), Outcome.WAITING, "", id="the generation before is in service"),
        pytest.param(position(UPDATING), Outcome.WAITING, "", id="the rollout proceeds"),
        pytest.param(
            position(UPDATING, observed=1, held=2, conditions=[CLOSED]),
            Outcome.FAILED,
            "MAINTENANCE_WINDOW",
            id="it waits for a window",
        ),
        pytest.param(
            position(UPDATING, observed=0, held=1, conditions=[CLOSED]), Outcome.WAITING, "", id="another one waited"
        ),
        pytest.param(position(DEGRADED), Outcome.WAITING, "", id="serves with less than asked for"),
        pytest.param(position(IN_SERVICE, generation=3), Outcome.FAILED, "SUPERSEDED", id="somebody wrote again"),
        pytest.param(position(DELETING), Outcome.FAILED, "POSITION_DELETED", id="it is being deleted"),
        pytest.param(position(OUT_OF_SERVICE), Outcome.WAITING, "", id="out of service without a reason"),
        pytest.param(position(OUT_OF_SERVICE, conditions=[CRASHED]), Outcome.WAITING, "", id="a host is tried again"),
        pytest.param(position(OUT_OF_SERVICE, conditions=[AGENT_AWAY]), Outcome.WAITING, "", id="the agent is away"),
        pytest.param(
            position(OUT_OF_SERVICE, conditions=[NOT_KNOWN]), Outcome.WAITING, "", id="not known is not false"
        ),
        pytest.param(
            position(OUT_OF_SERVICE, conditions=[CORRUPT]), Outcome.FAILED, "DIGEST_MISMATCH", id="it is corrupt"
        ),
        pytest.param(
            position(UPDATING, conditions=[AGENT_AWAY, CORRUPT]),
            Outcome.FAILED,
            "DIGEST_MISMATCH",
            id="it is corrupt and the one before serves",
        ),
        pytest.param(
            position(OUT_OF_SERVICE, observed=1, conditions=[CORRUPT]),
            Outcome.WAITING,
            "",
            id="the one before was corrupt",
        ),
        pytest.param(
            position(DEGRADED, observed=1, conditions=[WITHDRAWN]),
            Outcome.FAILED,
            "VERSION_WITHDRAWN",
            id="the version was taken back",
        ),
        pytest.param(position(PENDING, observed=0, conditions=[IMPORTING]), Outcome.WAITING, "", id="being imported"),
        pytest.param(
            position(IN_SERVICE, rejected=[RejectedVersion(model_version=WANTED, reason="START_FAILED", evidence="x")]),
            Outcome.FAILED,
            "VERSION_REJECTED",
            id="the version was refused and the old one serves",
        ),
        pytest.param(
            position(IN_SERVICE, rejected=[RejectedVersion(model_version=NAME, reason="START_FAILED", evidence="x")]),
            Outcome.ARRIVED,
            "",
            id="another version was refused once",
        ),
    ],
)
def test_a_form_of_the_position_is_judged(form: Position, outcome: Outcome, reason: str) -> None:
    verdict = judge(form, generation=2)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert bool(verdict.message) == (outcome is Outcome.FAILED)


def test_a_failure_names_the_condition_and_a_next_step() -> None:
    verdict = judge(position(OUT_OF_SERVICE, conditions=[CORRUPT]), generation=2)
    assert verdict.message == "model.onnx is not sha256:12"
    assert verdict.hint == "`waypost logs u/a/p` shows what its hosts said"


@pytest.mark.parametrize(
    ("state", "outcome"), [(1, Outcome.WAITING), (2, Outcome.ARRIVED), (3, Outcome.FAILED), (4, Outcome.FAILED)]
)
def test_a_version_is_judged_by_its_state(state: int, outcome: Outcome) -> None:
    assert judge_version(ModelVersion(state=state)).outcome is outcome
