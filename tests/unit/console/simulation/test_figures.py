"""What a simulation says of itself."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.simulation.figures import HEADER, Spread, Stage, Usage, nearest_rank, read_record, record, row

seconds = st.lists(st.floats(0, 1e6), min_size=1)
shares = st.floats(0, 1, exclude_min=True)


@given(seconds, shares)
def test_so_many_were_as_fast_and_one_fewer_would_not_do(values: Sequence[float], share: float) -> None:
    value = nearest_rank(sorted(values), share)
    assert value in values
    assert sum(each <= value for each in values) >= share * len(values)
    assert sum(each < value for each in values) < math.ceil(share * len(values))


@given(seconds)
def test_a_spread_rises_and_ends_with_the_slowest(values: Sequence[float]) -> None:
    spread = Spread.of(values)
    assert spread.p50 <= spread.p99 <= spread.slowest == max(values)
    assert spread.count == len(values)


def test_a_stage_costs_each_agent_its_share() -> None:
    stage = Stage("steady state", 200, 200, 10.0, usage=Usage(4.0, 300 << 20))
    assert stage.cores == pytest.approx(0.4)
    told = dict(zip(HEADER, row(stage), strict=True))
    assert (told["CPU PER AGENT"], told["MEMORY PER AGENT"]) == ("20.0 ms", "1.5 MiB")


@pytest.mark.parametrize(
    "stage",
    [
        Stage("steady state", 3, 3, 30.0),
        Stage("links cut", 3, 2, 4.0, Spread(3, 2.0, 1.0, 2.0, 3.0), Usage(0.3, 1 << 20)),
    ],
)
def test_what_is_kept_of_a_stage_is_read_as_it_was(stage: Stage) -> None:
    assert read_record(record(stage)) == stage
    assert len(row(stage)) == len(HEADER)


def test_what_is_not_known_stays_empty() -> None:
    assert row(Stage("steady state", 3, 2, 30.0)) == ("steady state", "2/3", *[""] * 7)
