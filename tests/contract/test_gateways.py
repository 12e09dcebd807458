"""Every gateway against the gateway suite."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, get_args, get_type_hints

import pytest

from edge_agent.settings import AgentSettings
from tests.contract import gateway_suite as suite
from tests.contract.gateway_benches import BENCHES, EnvoyBench, FakeBench
from tests.waiting import PATIENCE_S

Scenario = Callable[[suite.Bench], Coroutine[Any, Any, None]]


def cases() -> list[Any]:
    """Each gateway with each scenario; those about calls where it carries any."""
    return [
        pytest.param(name, scenario, id=f"{name}-{scenario.__name__}")
        for name, kind in BENCHES.items()
        for scenario in suite.TABLES + (suite.CALLS if kind.carries_calls else ())
    ]


@pytest.fixture
def bench(gateway: str) -> Iterator[FakeBench | EnvoyBench]:
    bench = BENCHES[gateway]()
    yield bench
    bench.close()


def test_every_gateway_that_can_be_chosen_has_a_bench() -> None:
    assert {*get_args(get_type_hints(AgentSettings)["gateway"])} <= BENCHES.keys()


@pytest.mark.parametrize(("gateway", "scenario"), cases())
def test_gateway(scenario: Scenario, bench: FakeBench | EnvoyBench) -> None:
    asyncio.run(asyncio.wait_for(scenario(bench), 2 * PATIENCE_S))
    assert bench.complaints() == []
