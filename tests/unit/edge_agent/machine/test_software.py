"""Versions of the software: what is installed, and positions that change from one to another."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from google.protobuf.duration_pb2 import Duration

from edge_agent.box import upgrade
from edge_agent.drivers.base import MONITOR
from edge_agent.machine.layout import layout_of
from edge_agent.machine.lock import take_lock
from edge_agent.machine.software import Software, software_of
from edge_agent.position.mode import Kind
from mesh import clock
from mesh.link import DesiredState, Item
from mesh.version import VERSION
from tests.unit.edge_agent.rig import POSITION, UID, Rig, assignment, decision, run
from waypost.api.control.v1.edge_server_pb2 import MaintenanceWindow
from waypost.api.link.v1.agent_link_pb2 import EdgeServerAssignment, PositionAssignment

OLD = "0.0.9"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def install(directory: Path, version: str) -> None:
    python = directory / version / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(mode=0o755)


def asked(software: str = "", *, generation: int = 1, version: str = "1", replicas: int = 1) -> PositionAssignment:
    message = assignment(version, generation=generation, replicas=replicas)
    message.spec.software_version = software
    return message


def shown(rig: Rig) -> set[str]:
    """Of the replicas that the status names."""
    return {replica.software_version for replica in rig.status().replicas}


def test_the_agents_own_version_is_always_there_and_others_where_an_environment_is(tmp_path: Path) -> None:
    software = Software(tmp_path)
    assert (software.installed(VERSION), software.installed(OLD)) == (True, False)
    assert software.command("", "m") == software.command(VERSION, "m") == [sys.executable, "-P", "-m", "m"]
    install(tmp_path, OLD)
    (tmp_path / "current").symlink_to(OLD)
    assert software.installed(OLD)
    assert software.versions == [OLD, VERSION]
    assert software.command(OLD, "m", "run") == [str(tmp_path / OLD / "bin/python"), "-P", "-m", "m", "run"]
    assert "`waypost agent install 9.9`" in software.missing("9.9").hint


def test_a_variant_says_which_software_it_is() -> None:
    assert [software_of(text) for text in ("1a2b@0.2.0", "sha256:1/1a2b@0.2.0", "1a2b")] == ["0.2.0", "0.2.0", ""]


def test_other_software_is_brought_up_beside_the_old_one_and_the_monitor_follows_the_hosts(rig: Rig) -> None:
    install(rig.layout.software, OLD)

    async def scenario() -> None:
        async with rig.agent():
            rig.assign(asked(OLD, replicas=2))
            await rig.until_state("IN_SERVICE")
            assert shown(rig) == {OLD}
            rig.decide(decision(7, ("1", 2, 100)))
            rig.assign(asked(generation=2, replicas=2))
            seen = []
            while rig.state() != "IN_SERVICE" or rig.status().observed_generation != 2:
                assert len(rig.routed()) >= 2  # the old ones stay in the route until the new ones are
                monitor = rig.machine.of(UID).get(MONITOR)
                seen.append((software_of(monitor.observed.variant) if monitor else "none", *sorted(shown(rig))))
                await asyncio.sleep(0.01)
            assert (OLD, OLD, VERSION) in seen
            await rig.until(lambda: rig.status().monitor_software_version == VERSION)
            await rig.until(lambda: shown(rig) == {VERSION})
            await rig.until(lambda: rig.condition("MonitorConnected") == "TRUE")
            assert rig.monitors.orders[POSITION].decision.number == 7

    run(scenario())


def test_a_position_that_is_to_go_keeps_its_monitor_as_it_is(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(asked())
            await rig.until_state("IN_SERVICE")
            starts = rig.machine.starts
            rig.machine.drain_s = 1.0
            rig.assign()
            rig.machine.end(UID, MONITOR)
            await rig.until(lambda: not rig.machine.of(UID))
            assert rig.machine.starts <= starts + 1, "once more, as it was"

    run(scenario())


def test_software_that_is_not_installed_is_said_and_what_serves_stays_and_is_kept_alive(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(asked(replicas=2))
            await rig.until_state("IN_SERVICE")
            running = rig.running()
            rig.assign(asked(OLD, generation=2, replicas=2))
            await rig.until_state("DEGRADED")
            assert rig.condition("ChangesApplied") == "SOFTWARE_NOT_INSTALLED"
            assert rig.status().hint.startswith(f"`waypost agent install {OLD}` on the machine")
            rig.machine.end(UID, min(running))
            await rig.until(lambda: rig.running() == running)
            install(rig.layout.software, OLD)
            await rig.until_state("IN_SERVICE", within_s=60)
            await rig.until(lambda: shown(rig) == {OLD})
            assert rig.condition("ChangesApplied") == "TRUE"

    run(scenario())


def test_a_first_deployment_without_its_software_waits_for_it(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(asked(OLD))
            await rig.until_state("OUT_OF_SERVICE")
            assert rig.condition("HostsReady") == "SOFTWARE_NOT_INSTALLED"
            assert rig.machine.starts == 0
            install(rig.layout.software, OLD)
            await rig.until_state("IN_SERVICE", within_s=60)

    run(scenario())


def test_after_a_restart_in_hold_an_upgraded_agent_leaves_the_old_software_alone(rig: Rig) -> None:
    install(rig.layout.software, OLD)

    async def scenario() -> None:
        with patch("edge_agent.position.assignments.VERSION", OLD):
            async with rig.agent():
                rig.assign(asked())
                await rig.until_state("IN_SERVICE")
                rig.set_mode(Kind.HOLD)
        starts = rig.machine.starts
        async with rig.agent():
            await rig.until_state("UPDATING")
            assert rig.condition("ChangesApplied") == "HELD"
            assert (rig.machine.starts, shown(rig)) == (starts, {OLD})
            rig.set_mode(Kind.FOLLOW)
            await rig.until_state("IN_SERVICE")
            await rig.until(lambda: shown(rig) == {VERSION})

    run(scenario())


def test_outside_of_its_windows_a_position_is_repaired_and_not_changed_also_after_a_restart(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(asked())
            await rig.until_state("IN_SERVICE")
            assign_with_windows(rig, asked(generation=2, version="2"), hours_from_now=5)
            await rig.until_state("UPDATING")
            assert rig.condition("ChangesApplied") == "MAINTENANCE_WINDOW"
            assert rig.status().message.startswith("m/1 answers with 1 replica; generation 2 waits for the maintenance")
            assert (rig.status().observed_generation, rig.status().held_generation) == (1, 2)
        rig.machine.end(UID, min(rig.running()))
        async with rig.agent():
            await rig.until(lambda: rig.state() == "UPDATING" and list(rig.running().values()) == ["1"])
            assign_with_windows(rig, asked(generation=2, version="2"), hours_from_now=-0.5)
            await rig.until_state("IN_SERVICE")
            assert list(rig.running().values())[-1] == "2"

    run(scenario())


def assign_with_windows(rig: Rig, wanted: PositionAssignment, *, hours_from_now: float) -> None:
    """With one window a day, an hour long, which opens so many hours from now."""
    opens = int((clock.now() + hours_from_now * 3600) // 60 % (24 * 60))
    window = MaintenanceWindow(start=f"{opens // 60:02}:{opens % 60:02}", duration=Duration(seconds=3600))
    own = EdgeServerAssignment(edge_server="edgeServers/edge-1", maintenance_windows=[window])
    rig.version += 1
    items = [
        Item(own.edge_server, rig.version, own.SerializeToString()),
        Item(wanted.position, rig.version, wanted.SerializeToString()),
    ]
    rig.ledger.keep_desired(DesiredState.of("store-1", rig.version, items))
    rig.supervisor.desired_changed()


def test_only_an_agent_that_still_holds_the_lock_is_ended_for_another_version(tmp_path: Path) -> None:
    """A process id that was let go of may be a stranger's by now."""
    layout = layout_of(tmp_path, None)
    software = Software(layout.software)
    software.directory.mkdir(parents=True)
    held = take_lock(layout.lock)
    try:
        with patch.object(os, "kill") as kill:
            upgrade._exchange(layout, software, OLD, os.getpid() + 1)
            upgrade._exchange(layout, software, OLD, None)
            kill.assert_not_called()
            upgrade._exchange(layout, software, OLD, os.getpid())
            kill.assert_called_once_with(os.getpid(), signal.SIGTERM)
    finally:
        os.close(held)
    assert os.readlink(software.current) == OLD
