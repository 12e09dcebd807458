"""Goals and page of the fleet benchmark."""

import pytest

from console.simulation.figures import Spread, Stage, Usage
from tests.bench.fleet import page
from tests.bench.fleet.__main__ import PAGE, read_rows
from tests.bench.fleet.goals import STEADY, STORMS, growth, judge


def stage(name: str, agents: int, cpu_s: float, *, connected: int | None = None, slowest: float = 10.0) -> Stage:
    spread = None if name == STEADY else Spread(agents, 4.0, 1.0, 5.0, slowest)
    return Stage(name, agents, agents if connected is None else connected, 10.0, spread, Usage(cpu_s, 10**9))


def runs(cpu_s: float = 9.0, connected: int = 4000, slowest: float = 10.0) -> dict[int, list[Stage]]:
    small = [stage(name, 1000, cpu_s / 4) for name in (STEADY, *STORMS)]
    large = [stage(name, 4000, cpu_s, connected=connected, slowest=slowest) for name in (STEADY, *STORMS)]
    return {1000: small, 4000: large}


def missed(measured: dict[int, list[Stage]]) -> list[str]:
    return [verdict.goal for verdict in judge(measured) if not verdict.met]


def test_a_fleet_that_costs_what_it_may_meets_every_goal() -> None:
    assert missed(runs()) == []


def test_each_goal_can_be_missed() -> None:
    assert "CPU in the steady state" in missed(runs(cpu_s=10.1))
    assert "last agent back, links cut" in missed(runs(slowest=60.5))
    assert "agents that are not connected in the end" in missed(runs(connected=3999))
    grown = runs()
    grown[4000][0] = stage(STEADY, 4000, 9.9)
    grown[1000][0] = stage(STEADY, 1000, 1.0)
    assert missed(grown) == ["growth of CPU per agent, steady state"]


def test_what_was_not_measured_is_missed() -> None:
    bare = {4000: [Stage(STEADY, 4000, 4000, 10.0)]}
    assert len(missed(bare)) == len(judge(bare))


def test_a_size_alone_says_nothing_of_growth() -> None:
    assert growth({4000: [stage(STEADY, 4000, 1.0)]}, STEADY) is None


@pytest.mark.parametrize(("power", "expected"), [(1, 1.0), (2, 4.0)])
def test_growth_tells_a_linear_cost_from_a_quadratic_one(power: int, expected: float) -> None:
    measured = {size: [stage(STEADY, size, size**power / 1e6)] for size in (1000, 4000)}
    assert growth(measured, STEADY) == pytest.approx(expected)


def test_what_the_fleet_costs_anyway_is_no_part_of_what_a_storm_costs() -> None:
    """The storm of the large fleet lasts longer, and meanwhile those who are back do what they always do."""
    measured = {
        1000: [stage(STEADY, 1000, 1.0), stage(STORMS[0], 1000, 5.0 + 0.6)],
        4000: [stage(STEADY, 4000, 4.0), stage(STORMS[0], 4000, 20.0 + 2.4)],
    }
    assert growth(measured, STORMS[0]) == pytest.approx(1.0)
    measured[4000][1] = stage(STORMS[0], 4000, 40.0 + 2.4)
    assert growth(measured, STORMS[0]) == pytest.approx(2.0)


def test_the_committed_page_is_that_of_the_committed_rows() -> None:
    measured = read_rows(PAGE.with_suffix("") / "rows.jsonl")
    written = page.page(measured, judge(measured), {})
    assert PAGE.read_text().startswith(written.rpartition("## On")[0])
