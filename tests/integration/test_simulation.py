"""`waypost simulate` against a real control plane: twenty agents, every stage, and nothing left of them."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import contexts
from console.client import Client
from console.contexts import Context
from console.kinds import EDGE_SERVER, POSITION, Resources
from console.simulation.figures import Stage
from console.simulation.positions import Behaviour
from console.simulation.stages import Wishes, simulate
from tests.integration.command_line import WAYPOST
from tests.integration.control_plane_process import ControlPlaneProcess, control_plane
from tests.integration.uploaded import make_versions
from waypost.api.control.v1.position_pb2 import POSITION_STATE_OUT_OF_SERVICE

AGENTS = 20
APPLICATION = "projects/p/applications/a"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    with control_plane(tmp_path / "control-plane") as process:
        yield process


def context_of(plane: ControlPlaneProcess) -> Context:
    return Context("test", plane.api, plane.roots.decode(), plane.token)


def test_a_simulated_fleet_goes_through_every_stage_and_leaves_nothing(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    context = context_of(plane)
    one, two = make_versions(context, tmp_path, APPLICATION, 2)
    contexts.write(tmp_path / "context.json", context)
    arguments = ["--agents", str(AGENTS), "--deploy", one, "--then", two, "--positions-per-agent", "2"]
    quick = ["--deploy-seconds", "0.1", "--duration", "1", "--control-plane-pid", str(plane.pid)]
    command = [*WAYPOST, "simulate", *arguments, *quick, "--context", str(tmp_path / "context.json"), "-o", "json"]
    stages = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    named = [stage["name"] for stage in stages]
    assert named == ["enrolment", "first deployment", "steady state", "new token", "other version", "links cut"]
    assert {stage["connected"] for stage in stages} == {AGENTS}
    assert all(stage["spread"]["count"] == AGENTS for stage in stages if stage["name"] != "steady state")
    assert all(stage["usage"]["memory_bytes"] > 0 for stage in stages)
    with Client(context) as client:
        assert list(Resources(client).list(EDGE_SERVER)) == []


def test_versions_that_simulated_hosts_refuse_are_refused_for_the_control_plane_too(
    plane: ControlPlaneProcess, tmp_path: Path
) -> None:
    context = context_of(plane)
    (version,) = make_versions(context, tmp_path, APPLICATION, 1)
    wishes = Wishes(3, model_version=version, behaviour=Behaviour(fail_rate=1.0), duration_s=0.0)
    stages: list[Stage] = []
    asyncio.run(simulate(context, wishes, stages.append, clean=False))
    assert stages[-1].connected == 3
    with Client(context) as client:
        positions = list(Resources(client).list(POSITION))
    assert len(positions) == 3
    assert all([each.reason for each in position.status.rejected] == ["START_FAILED"] for position in positions)
    assert {position.status.state for position in positions} == {POSITION_STATE_OUT_OF_SERVICE}
