"""What was killed is back at once, what cannot run does not take the machine."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.restarts import AT_ONCE, EVERY_S, Ends


def pauses_s(*lives_s: float) -> list[float]:
    """What a process waits for after each of its lives."""
    ends, now_s, pauses = Ends(), 1000.0, []
    for life_s in lives_s:
        ends = ends.another(now_s + life_s)
        pauses.append(ends.pause_s)
        now_s += life_s + ends.pause_s
    return pauses


def test_what_is_killed_a_few_times_in_a_row_does_not_wait() -> None:
    assert pauses_s(*[0.0] * AT_ONCE) == [0.0] * AT_ONCE


def test_what_is_killed_now_and_then_never_waits() -> None:
    assert set(pauses_s(*[EVERY_S] * 50)) == {0.0}


def test_a_long_life_makes_up_for_many_short_ones() -> None:
    assert set(pauses_s(*[0.0] * 20, AT_ONCE * EVERY_S, *[0.0] * (AT_ONCE - 1))[20:]) == {0.0}


@given(st.lists(st.floats(0, 100), max_size=100))
def test_in_the_long_run_starts_are_rare_and_no_start_waits_for_long(lives_s: list[float]) -> None:
    pauses = pauses_s(*lives_s)
    assert all(0.0 <= pause_s <= EVERY_S + 0.001 for pause_s in pauses)
    assert sum(lives_s) + sum(pauses) >= (len(lives_s) - AT_ONCE) * EVERY_S - 0.001
