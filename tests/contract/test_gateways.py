"""Every gateway against the gateway suite."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.contract import gateway_suite as suite
from tests.contract.gateway_benches import EnvoyBench, FakeBench
from tests.waiting import PATIENCE_S

Scenario = Callable[[suite.Bench], Coroutine[Any, Any, None]]


@pytest.fixture
def envoy() -> Iterator[EnvoyBench]:
    bench = EnvoyBench()
    yield bench
    bench.close()


@pytest.mark.parametrize("scenario", suite.TABLES, ids=lambda scenario: scenario.__name__)
def test_fake_gateway(scenario: Scenario) -> None:
    asyncio.run(scenario(FakeBench()))


@pytest.mark.parametrize("scenario", suite.TABLES + suite.CALLS, ids=lambda scenario: scenario.__name__)
def test_envoy(scenario: Scenario, envoy: EnvoyBench) -> None:
    asyncio.run(asyncio.wait_for(scenario(envoy), 2 * PATIENCE_S))
    assert not [line for line in envoy.log().splitlines() if "SIGTERM" not in line], envoy.log()
