"""Silence is measured by the observer's own clock, and not while the observer itself slept."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_plane.peers.liveness import Liveness
from tests.unit.control_plane.peers.world import peer

LEASE_S, GAP_S = 10.0, 5.0


def liveness() -> Liveness:
    return Liveness(LEASE_S, GAP_S)


@given(st.lists(st.tuples(st.floats(0.1, GAP_S), st.booleans()), min_size=1, max_size=40))
def test_only_who_was_silent_for_a_whole_lease_is_given_up(looks: list[tuple[float, bool]]) -> None:
    observer, row = liveness(), peer("other")
    now_s, spoke_s = 100.0, None
    for passed_s, speaks in looks:
        now_s += passed_s
        if speaks or spoke_s is None:
            row, spoke_s = replace(row, beats=row.beats + 1), now_s
        silent = observer.look([row], now_s)
        assert silent == ({row.run} if now_s - spoke_s >= LEASE_S else set())


def test_an_observer_that_slept_measures_anew() -> None:
    observer, row = liveness(), peer("other")
    observer.look([row], 100.0)
    assert observer.look([row], 500.0) == set()
    assert observer.look([row], 504.0) == set()
    assert observer.look([row], 508.0) == set()
    assert observer.look([row], 511.0) == {row.run}


def test_the_next_process_of_a_directory_is_another_one() -> None:
    observer, row = liveness(), peer("other")
    for now_s in (100.0, 104.0, 108.0):
        observer.look([row], now_s)
    assert observer.look([replace(row, run="next")], 112.0) == set()
