"""Rollouts, decision by decision: what a person would say of each of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from position_monitor.autoscale import Bounds
from position_monitor.rollout import (
    DETAIL_CHARS_MAX,
    START_ATTEMPTS_MAX,
    VERDICTS_KEPT_MAX,
    Decision,
    Orders,
    Replica,
    Share,
    Verdict,
    Version,
    decide,
)

NOW = 1_800_000_000.0
MODEL = "projects/uav/applications/path/models/gru/versions"
V1, V2, V3 = (Version(f"{MODEL}/{number}", f"sha256:{number}") for number in (1, 2, 3))
ONE = Bounds(1, 1)


def ready(version: Version, count: int = 1) -> tuple[Replica, ...]:
    return tuple(Replica(f"r-{version.digest[-1]}{index}", version, ready=True, starts=1) for index in range(count))


def starting(version: Version) -> tuple[Replica, ...]:
    return (Replica("r-starts", version, starts=1),)


def failed(version: Version, starts: int) -> tuple[Replica, ...]:
    return (Replica("r-fails", version, failed=True, starts=starts, reason="LOAD_FAILED", message="no such operator"),)


def orders(wanted: Version, decision: Decision, replicas: tuple[Replica, ...] = (), **more: object) -> Orders:
    return replace(Orders(7, wanted, ONE, replicas, decision=decision), **more)  # type: ignore[arg-type]


def held(*shares: tuple[Version, int], verdicts: tuple[Verdict, ...] = (), replicas: int = 1) -> Decision:
    return Decision(5, 7, tuple(Share(version, replicas, weight) for version, weight in shares), verdicts, "as before")


def weights(decision: Decision) -> list[tuple[str, int]]:
    return [(share.version.label, share.weight) for share in decision.shares]


REJECTED = Verdict(V2, "START_FAILED", "three times", NOW)


def test_the_first_deployment_runs_what_is_wanted_and_promises_nothing() -> None:
    decision = decide(orders(V1, Decision()), None, NOW)
    assert decision == Decision(1, 7, (Share(V1, 1, 0),), (), "gru/1 is starting")


def test_the_first_answer_makes_a_version_stand() -> None:
    decision = decide(orders(V1, held((V1, 0)), ready(V1)), None, NOW)
    assert weights(decision) == [("gru/1", 100)]
    assert decision.reason == "gru/1 serves with 1 replica"


def test_a_first_deployment_that_fails_is_tried_for_ever_with_its_reason() -> None:
    decision = decide(orders(V1, held((V1, 0)), failed(V1, 50)), None, NOW)
    assert weights(decision) == [("gru/1", 0)]
    assert decision.verdicts == ()
    assert decision.reason == "gru/1 does not start: LOAD_FAILED: no such operator; trying again"


def test_a_first_deployment_is_replaced_at_once() -> None:
    assert weights(decide(orders(V2, held((V1, 0)), failed(V1, 2)), None, NOW)) == [("gru/2", 0)]


def test_a_first_deployment_that_answers_is_not_thrown_away() -> None:
    assert weights(decide(orders(V2, held((V1, 0)), ready(V1)), None, NOW)) == [("gru/1", 100), ("gru/2", 0)]


def test_what_answers_stands_although_its_replacement_was_decided_already() -> None:
    found = decide(orders(V2, held((V2, 0)), ready(V1) + failed(V2, 1), routed=(V1.digest,)), None, NOW)
    assert weights(found) == [("gru/1", 100), ("gru/2", 0)]


def test_a_lost_ledger_does_not_take_away_what_answers() -> None:
    found = decide(orders(V2, Decision(), ready(V1), routed=(V1.digest,)), None, NOW)
    assert weights(found) == [("gru/1", 100), ("gru/2", 0)]


def test_a_candidate_starts_beside_what_stands() -> None:
    decision = decide(orders(V2, held((V1, 100)), ready(V1)), None, NOW)
    assert weights(decision) == [("gru/1", 100), ("gru/2", 0)]
    assert decision.reason == "gru/2 starts beside gru/1"


def test_calls_move_when_all_candidates_are_ready() -> None:
    before = held((V1, 100), (V2, 0), replicas=2)
    two = {"bounds": Bounds(2, 2)}
    waiting = decide(orders(V2, before, (*ready(V1, 2), *ready(V2, 1)), **two), None, NOW)
    assert weights(waiting) == [("gru/1", 100), ("gru/2", 0)]
    moved = decide(orders(V2, before, (*ready(V1, 2), *ready(V2, 2)), **two), None, NOW)
    assert weights(moved) == [("gru/1", 0), ("gru/2", 100)]


@pytest.mark.parametrize("routed", [(), (V1.digest,), (V1.digest, V2.digest)])
def test_the_old_version_runs_until_the_route_has_followed(routed: tuple[str, ...]) -> None:
    decision = decide(orders(V2, held((V1, 0), (V2, 100)), ready(V1) + ready(V2), routed=routed), None, NOW)
    assert weights(decision) == [("gru/1", 0), ("gru/2", 100)]


def test_the_old_version_goes_when_the_route_has_followed() -> None:
    decision = decide(orders(V2, held((V1, 0), (V2, 100)), ready(V1) + ready(V2), routed=(V2.digest,)), None, NOW)
    assert weights(decision) == [("gru/2", 100)]


def test_a_candidate_that_dies_before_the_end_gives_the_calls_back() -> None:
    decision = decide(orders(V2, held((V1, 0), (V2, 100)), ready(V1) + failed(V2, 1)), None, NOW)
    assert weights(decision) == [("gru/1", 100), ("gru/2", 0)]
    assert "LOAD_FAILED" in decision.reason


def test_a_candidate_takes_over_early_where_nobody_else_answers() -> None:
    replicas = (*failed(V1, 1), *ready(V2, 1))
    decision = decide(orders(V2, held((V1, 100), (V2, 0), replicas=2), replicas, bounds=Bounds(2, 2)), None, NOW)
    assert weights(decision) == [("gru/1", 0), ("gru/2", 100)]


def test_a_candidate_that_fails_to_start_is_rejected_with_evidence() -> None:
    decision = decide(orders(V2, held((V1, 100), (V2, 0)), ready(V1) + failed(V2, START_ATTEMPTS_MAX)), None, NOW)
    assert weights(decision) == [("gru/1", 100)]
    (verdict,) = decision.verdicts
    assert verdict == Verdict(
        V2, "START_FAILED", "replica r-fails failed 3 starts; the last: LOAD_FAILED: no such operator", NOW
    )
    assert decision.reason == "gru/2 was rejected (START_FAILED); gru/1 serves with 1 replica"


def test_two_failures_are_no_verdict() -> None:
    decision = decide(orders(V2, held((V1, 100), (V2, 0)), ready(V1) + failed(V2, START_ATTEMPTS_MAX - 1)), None, NOW)
    assert decision.verdicts == ()
    assert len(decision.shares) == 2


def test_one_replica_that_cannot_start_rejects_the_candidate_although_others_could() -> None:
    replicas = (*ready(V1, 2), *ready(V2, 1), *failed(V2, START_ATTEMPTS_MAX))
    before = held((V1, 100), (V2, 0), replicas=2)
    assert decide(orders(V2, before, replicas, bounds=Bounds(2, 2)), None, NOW).verdicts


def test_no_verdict_takes_away_all_that_answers() -> None:
    replicas = (*failed(V1, 1), *ready(V2, 1), *failed(V2, START_ATTEMPTS_MAX))
    before = held((V1, 0), (V2, 100), replicas=2)
    decision = decide(orders(V2, before, replicas, bounds=Bounds(2, 2)), None, NOW)
    assert weights(decision) == [("gru/1", 0), ("gru/2", 100)]
    assert decision.verdicts == ()


def test_what_an_earlier_attempt_left_behind_proves_nothing() -> None:
    decision = decide(orders(V2, held((V1, 100)), ready(V1) + failed(V2, START_ATTEMPTS_MAX)), None, NOW)
    assert decision.verdicts == ()


def test_a_rejected_version_stays_rejected_through_newer_generations() -> None:
    before = held((V1, 100), verdicts=(REJECTED,))
    decision = decide(orders(V2, before, ready(V1), generation=9), None, NOW)
    assert weights(decision) == [("gru/1", 100)]
    assert decision.verdicts == (REJECTED,)
    assert decision.generation == 9


def test_a_cleared_version_is_tried_again() -> None:
    ours = held((V1, 100), verdicts=(REJECTED,))
    cleared = replace(ours, verdicts=())
    decision = decide(orders(V2, cleared, ready(V1)), ours, NOW)
    assert weights(decision) == [("gru/1", 100), ("gru/2", 0)]
    assert decision.number == ours.number + 1


def test_a_rejected_version_does_not_run_even_if_there_is_no_other() -> None:
    decision = decide(orders(V2, Decision(4, verdicts=(REJECTED,))), None, NOW)
    assert decision.shares == ()
    assert decision.reason == "gru/2 was rejected (START_FAILED) and there is no other version to run"


def test_verdicts_are_bounded() -> None:
    many = tuple(Verdict(Version("m", f"sha256:{n}x"), "START_FAILED", "", NOW) for n in range(VERDICTS_KEPT_MAX))
    before = held((V1, 100), (V2, 0), verdicts=many)
    decision = decide(orders(V2, before, ready(V1) + failed(V2, START_ATTEMPTS_MAX)), None, NOW)
    assert len(decision.verdicts) == VERDICTS_KEPT_MAX
    assert decision.verdicts[-1].version == V2


@pytest.mark.parametrize("before", [held((V1, 100), (V2, 0)), held((V1, 0), (V2, 100))])
def test_a_newer_version_replaces_the_candidate(before: Decision) -> None:
    decision = decide(orders(V3, before, ready(V1) + ready(V2)), None, NOW)
    assert weights(decision) == [("gru/1", 100), ("gru/3", 0)]


@pytest.mark.parametrize("before", [held((V1, 100), (V2, 0)), held((V1, 0), (V2, 100))])
def test_going_back_drops_the_candidate(before: Decision) -> None:
    assert weights(decide(orders(V1, before, ready(V1) + starting(V2)), None, NOW)) == [("gru/1", 100)]


@pytest.mark.parametrize(("wanted", "expected"), [(V1, "gru/1"), (V3, "gru/3")])
def test_a_candidate_that_alone_answers_stands_until_it_is_replaced(wanted: Version, expected: str) -> None:
    decision = decide(orders(wanted, held((V1, 0), (V2, 100)), failed(V1, 1) + ready(V2)), None, NOW)
    assert weights(decision) == [("gru/2", 100), (expected, 0)]


def test_a_change_of_scale_changes_both_shares() -> None:
    decision = decide(orders(V2, held((V1, 100), (V2, 0)), ready(V1), bounds=Bounds(3, 4)), None, NOW)
    assert [share.replicas for share in decision.shares] == [3, 3]


def test_the_same_bytes_under_another_name_need_no_rollout() -> None:
    renamed = replace(V1, name=f"{MODEL}/1b")
    decision = decide(orders(renamed, held((V1, 100)), ready(V1)), None, NOW)
    assert decision.shares == (Share(renamed, 1, 100),)


def test_orders_that_do_not_hold_the_last_decision_change_nothing() -> None:
    last = replace(held((V1, 0), (V2, 100)), number=6)
    past = orders(V2, held((V1, 100), (V2, 0)), ready(V1) + failed(V2, START_ATTEMPTS_MAX))
    assert decide(past, last, NOW) is last


def test_a_restarted_monitor_goes_on_where_the_ledger_says() -> None:
    decision = decide(orders(V2, held((V1, 0), (V2, 100)), ready(V1) + ready(V2)), None, NOW)
    assert weights(decision) == [("gru/1", 0), ("gru/2", 100)]
    assert decision.number == 6  # only its words are new


def test_what_a_replica_says_of_its_failure_is_bounded() -> None:
    wordy = tuple(replace(replica, message="x" * 10_000) for replica in failed(V1, 1))
    assert len(decide(orders(V1, held((V1, 0)), wordy), None, NOW).reason) < DETAIL_CHARS_MAX + 60


VERSIONS = st.sampled_from([V1, V2, V3])
DECISIONS = st.builds(
    Decision,
    number=st.integers(0, 3),
    generation=st.integers(0, 3),
    shares=st.one_of(
        st.just(()),
        st.builds(lambda v, n, w: (Share(v, n, w),), VERSIONS, st.integers(1, 3), st.sampled_from([0, 100])),
        st.builds(
            lambda vs, n, w: (Share(vs[0], n, 100 - w), Share(vs[1], n, w)),
            st.lists(VERSIONS, min_size=2, max_size=2, unique=True),
            st.integers(1, 3),
            st.sampled_from([0, 100]),
        ),
    ),
    verdicts=st.lists(VERSIONS, max_size=2, unique=True).map(
        lambda versions: tuple(Verdict(version, "START_FAILED", "", 0.0) for version in versions)
    ),
    reason=st.just(""),
)
REPLICAS = st.lists(
    st.builds(
        lambda version, state, starts: Replica(
            "r", version, state == "ready", state == "failed", starts, "CRASHED" if state == "failed" else ""
        ),
        VERSIONS,
        st.sampled_from(["starting", "ready", "failed"]),
        st.integers(0, 4),
    ),
    max_size=6,
).map(tuple)
ORDERS = st.builds(
    Orders,
    generation=st.integers(0, 3),
    wanted=VERSIONS,
    bounds=st.builds(lambda low, more: Bounds(low, low + more), st.integers(1, 3), st.integers(0, 2)),
    replicas=REPLICAS,
    routed=st.lists(VERSIONS.map(lambda version: version.digest), max_size=4).map(tuple),
    decision=DECISIONS,
)


@given(ORDERS, st.none() | DECISIONS)
def test_deciding_twice_is_deciding_once(given_orders: Orders, previous: Decision | None) -> None:
    decision = decide(given_orders, previous, NOW)
    assert decide(given_orders, decision, NOW) == decision


@given(ORDERS)
def test_the_number_rises_by_one_exactly_when_something_changes(given_orders: Orders) -> None:
    before = given_orders.decision
    decision = decide(given_orders, None, NOW)
    changed = replace(decision, number=before.number) != before
    assert decision.number == before.number + changed


@given(ORDERS)
def test_every_decision_has_the_shape_that_the_next_one_expects(given_orders: Orders) -> None:
    decision = decide(given_orders, None, NOW)
    digests = [share.version.digest for share in decision.shares]
    assert len(digests) == len(set(digests)) <= 2
    assert sum(share.weight for share in decision.shares) in ({100} if len(digests) == 2 else {0, 100})
    bounds = given_orders.bounds
    assert all(bounds.replicas_min <= share.replicas <= bounds.replicas_max for share in decision.shares)
    assert decision.reason


@given(ORDERS)
def test_what_is_seen_for_a_while_is_decided_in_a_few_steps(given_orders: Orders) -> None:
    for _ in range(6):
        decision = decide(given_orders, None, NOW)
        if decision == given_orders.decision:
            return
        given_orders = replace(given_orders, decision=decision)
    raise AssertionError(f"still deciding: {decision}")


# -- the number of replicas

UP_TO_FOUR = Bounds(1, 4)


def shares(decision: Decision) -> list[tuple[int, tuple[str, ...]]]:
    return [(share.replicas, share.leaving) for share in decision.shares]


def test_the_number_follows_the_load_inside_its_bounds() -> None:
    for scaled, replicas in ((3, 3), (9, 4), (1, 1)):
        decision = decide(
            orders(V1, held((V1, 100), replicas=2), ready(V1, 2), bounds=UP_TO_FOUR, scaled=scaled), None, NOW
        )
        assert [share.replicas for share in decision.shares] == [replicas]


def test_without_a_word_about_the_load_the_number_stays() -> None:
    before = held((V1, 100), replicas=3)
    assert shares(decide(orders(V1, before, ready(V1, 3), bounds=UP_TO_FOUR), None, NOW)) == [(3, ())]


def test_who_has_least_to_do_goes_and_stays_chosen_until_the_number_changes() -> None:
    idlest = ("r-other", "r-12", "r-10", "r-11")
    before = held((V1, 100), replicas=3)
    asked = orders(V1, before, ready(V1, 3), bounds=UP_TO_FOUR, scaled=1, idlest=idlest)
    fewer = decide(asked, None, NOW)
    assert shares(fewer) == [(1, ("r-12", "r-10"))]
    again = replace(asked, decision=fewer, idlest=tuple(reversed(idlest)))
    assert decide(again, fewer, NOW) == fewer
    assert shares(decide(replace(again, scaled=2), fewer, NOW)) == [(2, ())]


def test_both_versions_of_a_rollout_follow_the_load() -> None:
    before = held((V1, 100), (V2, 0), replicas=2)
    decision = decide(orders(V2, before, ready(V1, 2), bounds=UP_TO_FOUR, scaled=3), None, NOW)
    assert [share.replicas for share in decision.shares] == [3, 3]
