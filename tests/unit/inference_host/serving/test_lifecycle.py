"""A model's life only goes forward, and its end is an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.serving.lifecycle import REPOSITORY_STATES, Lifecycle, State, worst

STEPS = ["warming", "ready", "draining", "unloaded", "failed"]


def step(life: Lifecycle, name: str) -> Lifecycle:
    return life.failed("CORRUPT_MODEL", "it is") if name == "failed" else getattr(life, name)()


@given(st.lists(st.sampled_from(STEPS)))
def test_no_way_leads_back(steps: list[str]) -> None:
    order = list(State)
    life = Lifecycle()
    for name in steps:
        try:
            after = step(life, name)
        except AssertionError:
            continue
        assert order.index(after.state) > order.index(life.state) or (after == life and life.ended)
        life = after


def test_only_a_model_that_was_warmed_up_serves() -> None:
    life = Lifecycle()
    with pytest.raises(AssertionError):
        life.ready()
    assert [life.serves, life.warming().serves, life.warming().ready().serves] == [False, False, True]


def test_stopping_twice_changes_nothing() -> None:
    draining = Lifecycle().draining()
    assert draining.draining() == draining
    assert not draining.serves


def test_a_failure_keeps_its_reason_when_the_host_stops() -> None:
    failed = Lifecycle().failed("CORRUPT_MODEL", "half a file")
    assert failed.draining() == failed
    assert (failed.reason, failed.message) == ("CORRUPT_MODEL", "half a file")


def test_what_keeps_a_host_from_being_ready_speaks_for_it() -> None:
    ready = Lifecycle().warming().ready()
    assert worst([ready, Lifecycle()]).state is State.LOADING
    assert worst([ready, Lifecycle(), Lifecycle().failed("X", "y")]).state is State.FAILED
    assert worst([ready, ready]).serves


def test_a_model_that_was_unloaded_keeps_its_host_from_nothing() -> None:
    ready = Lifecycle().warming().ready()
    assert worst([ready.unloaded(), ready]).serves
    assert worst([ready.unloaded(), Lifecycle()]).state is State.LOADING
    assert not worst([ready.unloaded()]).serves


def test_every_state_has_a_name_in_the_repository_index() -> None:
    assert set(REPOSITORY_STATES) == set(State)
