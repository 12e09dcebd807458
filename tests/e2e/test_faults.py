"""kill -9 of each part under load: exactly what docs/architecture.md allows is lost, and everything comes back.

The model is idempotent (ONNX), so calls that a dead host held are retried by the gateway or the SDK; a dead gateway
costs the calls in flight, which the SDK repeats. The caller counts: no call may fail, and none may be answered wrongly.
"""

from collections.abc import Iterator

import pytest

from tests.e2e.load import Load
from tests.e2e.platform import Platform

VERSIONS = {f"projects/demo/applications/lab/models/affine/versions/{n}": scale for n, scale in ((1, 2.0), (2, 3.0))}


@pytest.fixture(scope="module")
def tower(platform: Platform) -> str:
    """A position with two replicas."""
    platform.deploy("lab/affine/1", "lab/tower", "--replicas", "2")
    return "lab/tower"


@pytest.fixture
def load(platform: Platform, tower: str) -> Iterator[Load]:
    """A load around each test, judged at its end."""
    with Load(platform.gateway, f"demo/{tower}", platform.token("lab"), scales=VERSIONS) as load:
        load.wait_for(50)
        yield load
        platform.until(lambda: platform.state(tower).endswith("IN_SERVICE"), "the position is in service again")
        load.wait_for(100)
    assert not load.wrong
    assert not load.failures, f"{len(load.failures)} of {load.total} calls failed: {load.failures[:3]}"


def test_a_killed_host_costs_no_call(platform: Platform, tower: str, load: Load) -> None:
    before = replica_ids(platform, tower)
    victim = platform.processes("inference_host", before[0])
    assert victim
    platform.kill("inference_host", before[0])
    platform.until(lambda: platform.ready_replicas(tower) == 2, "two replicas answer again")


def test_a_killed_monitor_costs_no_call(platform: Platform, tower: str, load: Load) -> None:
    platform.kill("position_monitor")
    platform.until(lambda: platform.processes("position_monitor"), "the monitor is started again")
    platform.until(lambda: condition(platform, tower, "MonitorConnected") == "TRUE", "the monitor is connected again")


def test_a_killed_agent_costs_no_call_and_starts_nothing_twice(platform: Platform, tower: str, load: Load) -> None:
    hosts = {process.pid for process in platform.processes("inference_host")}
    platform.kill("edge_agent", "run")
    platform.until(lambda: platform.processes("edge_agent", "run"), "the agent is started again")
    platform.until(lambda: platform.agent_is_connected(), "the agent is connected again")
    assert {process.pid for process in platform.processes("inference_host")} == hosts


def test_a_killed_control_plane_costs_no_call(platform: Platform, tower: str, load: Load) -> None:
    platform.kill("control_plane")
    load.wait_for(50)
    platform.until(lambda: platform.run("status").returncode == 0, "the control plane answers again")
    platform.until(lambda: platform.agent_is_connected(), "the agent is connected again")


def test_a_killed_gateway_is_back_in_a_second_and_the_sdk_repeats(platform: Platform, tower: str, load: Load) -> None:
    platform.kill("envoy", "--config-path")
    load.wait_for(50)


def test_a_killed_training_platform_costs_nothing(platform: Platform, tower: str, load: Load) -> None:
    platform.kill("training_platform")
    platform.until(lambda: platform.processes("training_platform"), "the training platform is started again")


def test_a_different_version_takes_over_without_a_failed_call(platform: Platform, tower: str, load: Load) -> None:
    platform.deploy("lab/affine/2", tower)
    load.wait_for(50)
    platform.deploy("lab/affine/1", tower)
    assert set(load.answers) == set(VERSIONS)


def test_scaling_up_and_down_costs_no_call(platform: Platform, tower: str, load: Load) -> None:
    platform.deploy("lab/affine/1", tower, "--replicas", "3")
    platform.until(lambda: platform.ready_replicas(tower) == 3, "three replicas")
    platform.deploy("lab/affine/1", tower, "--replicas", "2")
    platform.until(lambda: len(replica_ids(platform, tower)) == 2, "two replicas")


def replica_ids(platform: Platform, position: str) -> list[str]:
    return [replica["id"] for replica in platform.position(position)["status"]["replicas"]]


def condition(platform: Platform, position: str, kind: str) -> str:
    conditions = platform.position(position)["status"]["conditions"]
    return next((c["status"].removeprefix("CONDITION_STATUS_") for c in conditions if c["type"] == kind), "ABSENT")
