"""A number of replicas inside its bounds, with a reason."""

from hypothesis import given
from hypothesis import strategies as st

from position_monitor.autoscale import Bounds, scale

BOUNDS = st.tuples(st.integers(1, 64), st.integers(1, 64)).map(lambda pair: Bounds(min(pair), max(pair)))


@given(st.integers(0, 100), BOUNDS)
def test_replicas_stay_inside_the_bounds(current: int, bounds: Bounds) -> None:
    assert bounds.replicas_min <= scale(current, bounds).replicas <= bounds.replicas_max


@given(st.integers(0, 100), BOUNDS)
def test_a_number_that_is_allowed_is_kept(current: int, bounds: Bounds) -> None:
    allowed = scale(current, bounds).replicas
    assert scale(allowed, bounds).replicas == allowed
    assert allowed == current or not bounds.replicas_min <= current <= bounds.replicas_max


def test_a_new_position_starts_with_the_least() -> None:
    assert scale(0, Bounds(2, 5)).replicas == 2


def test_reasons_are_words_that_follow_serves_with() -> None:
    assert scale(1, Bounds(1, 1)).reason == "1 replica"
    assert scale(2, Bounds(2, 2)).reason == "2 replicas"
    assert scale(1, Bounds(1, 4)).reason == "1 replica, the least that its spec allows"
    assert scale(9, Bounds(1, 4)).reason == "4 replicas, the most that its spec allows"
    assert scale(3, Bounds(1, 4)).reason == "3 replicas, inside 1..4"
