"""What a quota allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.quota import KINDS, asked_by, check_quota, used_by
from waypost.api.control.v1.position_pb2 import Position
from waypost.api.control.v1.project_pb2 import ResourceAmounts
from waypost.errors import Exhausted, Invalid

NAME = "projects/uav/applications/path/positions/tower-7"


def position(least: int = 0, most: int = 0, cpu_millis: int = 0, memory_bytes: int = 0) -> Position:
    made = Position(name=NAME)
    made.spec.replicas.min, made.spec.replicas.max = least, most
    made.spec.resources.cpu_millis, made.spec.resources.memory_bytes = cpu_millis, memory_bytes
    return made


positions = st.builds(position, *(st.integers(0, 5) for _ in range(4)))
amounts = st.builds(ResourceAmounts, **{kind: st.integers(0, 40) for kind in KINDS})


def test_a_position_asks_for_as_many_replicas_as_it_may_have() -> None:
    assert asked_by(position()) == ResourceAmounts(positions=1, replicas=1)
    asked = asked_by(position(1, 3, 500, 100))
    assert asked == ResourceAmounts(positions=1, replicas=3, cpu_millis=1500, memory_bytes=300)
    assert used_by([position(2), position(1, 3)]) == ResourceAmounts(positions=2, replicas=5)
    assert used_by([]) == ResourceAmounts()


@given(amounts, st.lists(positions, max_size=5), positions, st.none() | positions)
def test_what_is_let_in_fits_or_asks_for_no_more_than_before(
    quota: ResourceAmounts, others: list[Position], after: Position, before: Position | None
) -> None:
    try:
        check_quota(quota, used_by(others), after, before)
    except (Exhausted, Invalid):
        assert before is None or asked_by(before) != asked_by(after)
        return
    total, asked, had = used_by([*others, after]), asked_by(after), asked_by(before) if before else ResourceAmounts()
    for kind in KINDS:
        fits = not getattr(quota, kind) or getattr(total, kind) <= getattr(quota, kind)
        assert fits or getattr(asked, kind) <= getattr(had, kind)


@given(st.lists(positions, max_size=5), positions)
def test_without_a_quota_everything_goes(others: list[Position], after: Position) -> None:
    check_quota(ResourceAmounts(), used_by(others), after, None)


def test_a_refusal_names_the_quota_what_is_used_and_what_was_asked() -> None:
    with pytest.raises(Exhausted) as refused:
        check_quota(ResourceAmounts(replicas=4), ResourceAmounts(replicas=3), position(2), None)
    error = refused.value
    assert error.reason == "QUOTA_EXCEEDED"
    assert error.message == (
        "project 'uav' may have 4 replicas: its other positions have 3, and 'uav/path/tower-7' asks for 2"
    )
    assert error.metadata == {"project": "uav", "quota": "replicas=4", "used": "3", "asked": "2"}


def test_where_something_is_limited_no_limit_is_no_answer() -> None:
    quota = ResourceAmounts(cpu_millis=1000)
    with pytest.raises(Invalid) as refused:
        check_quota(quota, ResourceAmounts(), position(), None)
    assert refused.value.metadata["field"] == "position.spec.resources.cpu_millis"
    with pytest.raises(Invalid):
        check_quota(quota, ResourceAmounts(), position(), position(cpu_millis=100))
    check_quota(quota, ResourceAmounts(), position(), position())  # it was there before the quota: it goes on
