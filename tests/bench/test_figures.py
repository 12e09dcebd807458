"""Figures are ratios of turns side by side, and goals are judged by them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench import batching, cells, mix, servers, variants
from tests.bench.figures import Figure, Figures
from tests.bench.goals import GOALS, Verdict, judge
from tests.bench.passes import OURS
from tests.bench.rows import Row

COSTS = st.floats(min_value=0.1, max_value=1e6)


def turns(round_: int, before: float, theirs: float, after: float, peer: servers.Peer = servers.CPP) -> list[Row]:
    servers_ = (OURS.name, peer.name, OURS.name)
    return [
        Row("load", str(cells.MLP_8), server, peer.name, round_, turn, {"cpu_us": cost})
        for turn, (server, cost) in enumerate(zip(servers_, (before, theirs, after), strict=True))
    ]


@given(ours=COSTS, theirs=COSTS, drift=st.floats(min_value=0, max_value=0.1))
def test_a_drift_of_the_machine_cancels(ours: float, theirs: float, drift: float) -> None:
    slower = [1 - drift, 1, 1 + drift]
    rows = turns(1, ours * slower[0], theirs * slower[1], ours * slower[2])
    ratio = Figures(rows).ratio("cpu_us", cells.MLP_8, servers.CPP)
    assert ratio is not None
    assert ratio.median == pytest.approx(ours / theirs)


def test_a_ratio_is_the_median_of_rounds_and_tells_its_spread() -> None:
    rows = [*turns(1, 10, 10, 10), *turns(2, 20, 10, 20), *turns(3, 90, 10, 90)]
    assert Figures(rows).ratio("cpu_us", cells.MLP_8, servers.CPP) == Figure(2, 1, 9)


def test_a_turn_that_is_missing_leaves_its_round_out() -> None:
    rows = [*turns(1, 10, 10, 10), *turns(2, 20, 10, 20)[:2]]
    assert Figures(rows).ratio("cpu_us", cells.MLP_8, servers.CPP) == Figure(1, 1, 1)


def test_further_turns_of_a_round_do_not_count() -> None:
    rows = [*turns(1, 20, 10, 20), Row("load", str(cells.MLP_8), "by-hand", "cpp", 1, 3, {"cpu_us": 99.0})]
    assert Figures(rows).ratio("cpu_us", cells.MLP_8, servers.CPP) == Figure(2, 2, 2)


def test_the_best_peer_is_the_one_that_we_are_closest_to() -> None:
    figures = Figures([])
    assert figures.closest([Figure(0.05, 0, 1), Figure(0.1, 0, 1)]) == Figure(0.1, 0, 1)
    assert figures.closest([Figure(0.05, 0, 1), None]) is None  # the missing one may be the best


def test_goodput_is_compared_with_the_better_of_the_other_ways() -> None:
    rates = {batching.NONE.name: 80.0, batching.DELAY.name: 100.0, batching.SHIPPED.name: 110.0}
    rows = [Row(batching.KIND, "120%", name, "", 1, 0, {"goodput_per_s": rate}) for name, rate in rates.items()]
    assert Figures(rows).goodput_gain((1.2,)) == Figure(1.1, 1.1, 1.1)
    assert Figures(rows).goodput_gain((1.0, 1.2)) is None


def test_the_tiny_model_beside_a_slow_one_is_compared_with_itself_alone() -> None:
    times = ((mix.ALONE, 1.0), (mix.BESIDE, 3.0), (mix.ALONE, 2.0))
    rows = [Row(mix.KIND, what, OURS.name, "", 1, turn, {"p99_us": p99}) for turn, (what, p99) in enumerate(times)]
    assert Figures(rows).beside_slow(OURS.name) == Figure(2, 2, 2)


@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_another_way_is_compared_with_the_usual_one(variant: variants.Variant) -> None:
    usual, other = variant.usual.name, variant.other.name
    costs = ((usual, 10.0), (other, 30.0), (usual, 20.0))
    rows = [
        Row(variants.KIND, str(cells.MLP_8), name, other, 1, turn, {"cpu_us": cost})
        for turn, (name, cost) in enumerate(costs)
    ]
    assert Figures(rows).variant_ratio(cells.MLP_8, variant) == Figure(2, 2, 2)


def test_a_goal_without_a_figure_is_missed() -> None:
    verdicts = judge(Figures([]))
    assert len(verdicts) == len(GOALS)
    assert not any(verdict.met for verdict in verdicts)
    assert all("not measured" in verdict.miss for verdict in verdicts)


def test_a_goal_is_met_up_to_its_bound() -> None:
    upper, lower = GOALS[0], next(goal for goal in GOALS if goal.at_least)
    for goal, better in ((upper, -0.01), (lower, 0.01)):
        for shift, met in ((0.0, True), (better, True), (-better, False)):
            value = goal.bound + shift
            assert Verdict(goal, Figure(value, value, value)).met is met
