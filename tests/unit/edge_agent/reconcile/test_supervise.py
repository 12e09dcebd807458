"""Positions from their first assignment to their end, over fakes and on virtual time."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from unittest.mock import patch

import pytest

from edge_agent.drivers.fake import FakeDriver
from edge_agent.failure import Failure
from edge_agent.position.mode import Kind
from edge_agent.reconcile.crew import START_WITHIN_S
from tests.unit.edge_agent.rig import (
    OTHER,
    OTHER_UID,
    POSITION,
    UID,
    Rig,
    assignment,
    decision,
    model_version,
    run,
)
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.errors import Precondition


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_first_deployment_comes_into_service(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            took_s = await rig.until_state("IN_SERVICE")
            assert took_s < 1
            assert rig.reports.states == ["DEPLOYING", "IN_SERVICE"]
            assert rig.running().keys() == rig.routed().keys()
            assert list(rig.running().values()) == ["1", "1"]
            status = rig.status()
            assert status.message == "m/1 answers with 2 replicas"
            assert [c.type for c in status.conditions] == [
                "ArtifactReady",
                "HostsReady",
                "RouteReady",
                "MonitorConnected",
                "ChangesApplied",
            ]
            assert status.endpoint.authority == f"{UID}.edge.local"
            assert status.endpoint.serve_as == "tower-7"
            assert (status.serving[0].weight, status.serving[0].replicas_ready) == (100, 2)
            assert rig.probes == 1

    run(scenario())


def test_nothing_serves_before_the_probe_has_succeeded(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.gateway.ack_delay_s = 2.0
            rig.assign(assignment())
            await rig.until(lambda: rig.condition("HostsReady") == "TRUE" if rig.status().conditions else False)
            assert rig.state() == "DEPLOYING"
            assert rig.condition("RouteReady") == "ROUTE_CHANGING"
            await rig.until_state("IN_SERVICE")
            assert rig.condition("RouteReady") == "TRUE"

    run(scenario())


def test_a_restarted_agent_adopts_everything_and_changes_nothing(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
        starts, tables, running = rig.machine.starts, len(rig.gateway.applied), rig.running()
        await asyncio.sleep(5)
        async with rig.agent():
            await rig.until_state("IN_SERVICE", within_s=1)
            await asyncio.sleep(10)
            assert rig.reports.states == ["IN_SERVICE"]
        assert (rig.machine.starts, len(rig.gateway.applied), rig.running()) == (starts, tables, running)

    run(scenario())


def test_without_a_control_plane_positions_come_up_from_the_ledger(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
        for id_ in [*rig.machine.of(UID)]:
            rig.machine.end(UID, id_)
        rig.gateway.die()
        rig.source.away = True
        async with rig.agent():
            await rig.until_state("IN_SERVICE")

    run(scenario())


def test_an_agent_that_has_never_heard_a_control_plane_stops_nothing(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
        for path in rig.layout.ledger.glob("desired*"):
            path.unlink()
        running = rig.running()
        async with rig.agent():
            await asyncio.sleep(60)
        assert rig.running() == running
        assert rig.routed().keys() == running.keys()

    run(scenario())


def test_a_new_version_is_brought_up_beside_the_old_one(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            old = set(rig.running())
            rig.assign(assignment("2", generation=2, replicas=2))
            rig.decide(decision(1, ("1", 2, 100), ("2", 2, 0)))
            await rig.until(lambda: len(rig.running()) == 4)
            assert rig.routed().keys() == old
            assert rig.state() == "UPDATING"
            await asyncio.sleep(1)
            rig.decide(decision(2, ("1", 2, 0), ("2", 2, 100)))
            await rig.until(lambda: rig.routed().keys() == rig.running().keys() - old)
            assert old <= rig.running().keys()
            rig.decide(decision(3, ("2", 2, 100)))
            await rig.until(lambda: list(rig.running().values()) == ["2", "2"])
            await rig.until_state("IN_SERVICE")
            assert rig.status().observed_generation == 2
            assert "OUT_OF_SERVICE" not in rig.reports.states

    run(scenario())


def test_the_old_version_serves_until_the_new_one_is_routed_whatever_is_decided(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=1))
            await rig.until_state("IN_SERVICE")
            (old,) = rig.running()
            rig.machine.ready_delay_s = 3.0
            rig.assign(assignment("2", generation=2))
            rig.decide(decision(1, ("2", 1, 100)))
            await asyncio.sleep(2.5)
            assert rig.routed().keys() == {old}
            await rig.until(lambda: list(rig.running().values()) == ["2"])
            assert rig.routed().keys() == rig.running().keys()

    run(scenario())


def test_a_version_that_does_not_start_leaves_the_old_one_serving_and_is_rejected(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.machine.fail_start.add(model_version("2").digest)
            rig.assign(assignment("2", generation=2))
            rig.decide(decision(1, ("1", 1, 100), ("2", 1, 0)))
            await rig.until(lambda: "LOAD_FAILED" in [r.reason for r in rig.status().replicas])
            assert rig.state() == "UPDATING"
            assert "the model cannot be loaded" in rig.status().message
            assert rig.status().hint == "publish another version"
            rig.decide(decision(2, ("1", 1, 100), rejected=("2",)))
            await rig.until_state("DEGRADED")
            await rig.until(lambda: list(rig.running().values()) == ["1"])
            assert rig.status().rejected[0].digest == model_version("2").digest
            assert rig.condition("HostsReady") == "REJECTED"
            assert len(rig.routed()) == 1

    run(scenario())


def test_a_first_version_that_does_not_start_is_out_of_service_for_a_reason(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.machine.fail_start.add(model_version("1").digest)
            rig.assign(assignment())
            await rig.until_state("OUT_OF_SERVICE")
            assert rig.condition("HostsReady") == "LOAD_FAILED"
            assert ("REPLICA_FAILED", "replica r-000001 ended (start 1): the model cannot be loaded") in (
                rig.reports.events
            )
            rig.machine.fail_start.clear()
            await rig.until_state("IN_SERVICE")

    run(scenario())


def test_a_crashing_host_is_started_again_ever_more_slowly(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.machine.fail_start.add(model_version("1").digest)
            rig.assign(assignment())
            await asyncio.sleep(1000)
            (replica,) = rig.status().replicas
            assert 15 < replica.starts < 30

    run(scenario())


def test_a_host_that_loads_for_long_and_then_crashes_is_not_taken_for_a_healthy_one(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.machine.ready_delay_s, rig.machine.crash_after_s = 100.0, 70.0
            rig.assign(assignment())
            await asyncio.sleep(3000)
            (replica,) = rig.status().replicas
            assert replica.starts <= 3000 / (70 + 60) + 6

    run(scenario())


def test_a_host_that_is_killed_a_few_times_after_it_served_is_back_at_once(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            victim = min(rig.running())
            for starts in (2, 3, 4):
                rig.machine.end(UID, victim)
                await rig.until(lambda: victim not in rig.routed(), within_s=0.1)
                await rig.until_state("DEGRADED", within_s=0.1)
                await rig.until_state("IN_SERVICE", within_s=1.0)
                assert next(r.starts for r in rig.status().replicas if r.id == victim) == starts

    run(scenario())


def test_a_host_that_hangs_is_un_routed_and_then_started_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            victim = min(rig.running())
            rig.machine.of(UID)[victim].answers_from_s = float("inf")
            await rig.until(lambda: victim not in rig.routed())
            assert rig.state() == "DEGRADED"
            assert rig.status().replicas[0].reason == "NOT_ANSWERING"
            took_s = await rig.until_state("IN_SERVICE", within_s=60)
            assert took_s > 25
            assert len(rig.routed()) == 2

    run(scenario())


def test_a_host_that_never_gets_ready_is_started_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.machine.ready_delay_s = float("inf")
            rig.assign(assignment(replicas=1))
            await rig.until(lambda: bool(rig.running()))
            rig.machine.ready_delay_s = 0.0
            (first,) = rig.running()
            await rig.until(lambda: rig.status().replicas[0].reason == "START_TIMEOUT", START_WITHIN_S + 10.0)
            await rig.until_state("IN_SERVICE", within_s=60)
            assert list(rig.running()) == [first]

    run(scenario())


def test_calls_are_said_to_reach_a_host_that_hangs_until_the_gateway_has_confirmed_otherwise(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            victim = min(rig.running())
            rig.gateway.ack_delay_s = 3.0
            rig.machine.of(UID)[victim].answers_from_s = float("inf")
            await rig.until_state("DEGRADED")
            assert rig.condition("RouteReady") == "ROUTE_CHANGING"
            assert victim in rig.routed()
            await rig.until(lambda: rig.condition("RouteReady") == "TRUE")
            assert rig.state() == "DEGRADED"
            assert victim not in rig.routed()

    run(scenario())


def test_hosts_load_a_few_at_a_time_whatever_comes_at_once(rig: Rig) -> None:
    async def scenario() -> None:
        rig.loading_max = 2
        others = [f"{digit}f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001" for digit in range(1, 7)]
        positions = [f"projects/p/applications/a/positions/tower-{uid[0]}" for uid in others]
        most = [0]

        async def watch() -> None:
            while True:
                loading = [id_ for uid in others for id_ in rig.running(uid) if not rig.machine.answers(uid, id_)]
                most.append(len(loading))
                await asyncio.sleep(0.005)

        async with rig.agent(), asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            pairs = zip(others, positions, strict=True)
            rig.assign(*(assignment(uid=uid, position=position, replicas=2) for uid, position in pairs))
            for position in positions:
                await rig.until_state("IN_SERVICE", position)
            watching.cancel()
            assert max(most) == 2
            assert rig.machine.starts == 6 * 3

    run(scenario())


def test_a_host_that_takes_for_ever_to_load_does_not_keep_others_from_their_start(rig: Rig) -> None:
    async def scenario() -> None:
        rig.loading_max = 1
        async with rig.agent():
            rig.machine.ready_delay_s = 1000.0
            rig.assign(assignment())
            await asyncio.sleep(1)
            rig.machine.ready_delay_s = 0.2
            rig.assign(assignment(), assignment(uid=OTHER_UID, position=OTHER))
            await rig.until_state("IN_SERVICE", OTHER, within_s=90)

    run(scenario())


def test_scaling_follows_the_monitor_within_the_spec(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.decide(decision(1, ("1", 50, 100)))
            await rig.until(lambda: len(rig.routed()) == 4)
            rig.decide(decision(2, ("1", 2, 100)))
            await rig.until(lambda: len(rig.running()) == 2)
            assert rig.routed().keys() == rig.running().keys()
            assert set(rig.reports.states) == {"DEPLOYING", "IN_SERVICE"}

    run(scenario())


def test_a_new_name_replaces_the_hosts_without_a_gap(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            (old,) = rig.running()
            rig.assign(assignment(generation=2, serve_as="path"))
            await rig.until(lambda: old not in rig.running())
            await rig.until_state("IN_SERVICE")
            assert rig.status().endpoint.serve_as == "path"
            assert "OUT_OF_SERVICE" not in rig.reports.states

    run(scenario())


def test_a_deleted_position_goes_without_a_trace(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.assign(assignment(deleting=True))
            await rig.until(lambda: rig.reports.reports[POSITION].gone)
            assert rig.reports.states == ["DEPLOYING", "IN_SERVICE", "DELETING"]
            assert rig.machine.of(UID) == {}
            assert UID not in (rig.gateway.table.by_uid if rig.gateway.table else {})
            assert rig.ledger.records == {}
            assert list(rig.layout.positions.iterdir()) == []
            rig.assign()
            await rig.until(lambda: POSITION not in rig.reports.reports)
        async with rig.agent():
            await asyncio.sleep(5)
            assert rig.reports.reports == {}

    run(scenario())


def test_a_position_that_was_deleted_while_the_agent_was_away_is_reported_gone_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(deleting=True))
            await rig.until(lambda: rig.reports.reports.get(POSITION) is not None)
            assert rig.reports.reports[POSITION].gone

    run(scenario())


def test_a_position_that_moved_away_is_drained(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(), assignment(uid=OTHER_UID, position=OTHER))
            await rig.until_state("IN_SERVICE")
            await rig.until_state("IN_SERVICE", OTHER)
            rig.assign(assignment(uid=OTHER_UID, position=OTHER))
            await rig.until(lambda: rig.machine.of(UID) == {})
            await rig.until(lambda: POSITION not in rig.reports.reports)
            assert rig.state(OTHER) == "IN_SERVICE"

    run(scenario())


def test_a_name_is_given_to_the_next_position_when_the_one_before_has_gone(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.machine.drain_s = 3.0
            rig.assign(assignment(uid=OTHER_UID))
            await rig.until(lambda: rig.machine.of(UID) == {})
            await rig.until(lambda: rig.reports.reports[POSITION].uid == OTHER_UID)
            await rig.until_state("IN_SERVICE")

    run(scenario())


def test_hosts_that_the_ledger_lost_are_adopted_or_drained(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
        running = rig.running()
        for path in rig.layout.ledger.glob("positions*"):
            path.unlink()
        async with rig.agent():
            await rig.until_state("IN_SERVICE")
            assert rig.running() == running
            rig.decide(decision(1, ("1", 1, 100)))
            await rig.until(lambda: len(rig.running()) == 1)

    run(scenario())


def test_a_corrupted_artifact_is_never_run(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            digest = model_version("1").artifacts[0].digest
            good, rig.source.contents[digest] = rig.source.contents[digest], b"model X"
            rig.assign(assignment())
            await rig.until_state("OUT_OF_SERVICE")
            assert rig.condition("ArtifactReady") == "DIGEST_MISMATCH"
            assert rig.running() == {}
            rig.source.contents[digest] = good
            await rig.until_state("IN_SERVICE", within_s=120)

    run(scenario())


def test_versions_that_nobody_needs_are_removed_after_a_while(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            for generation, version in enumerate("123", start=1):
                rig.assign(assignment(version, generation=generation))
                await rig.until(lambda g=generation: rig.status().observed_generation == g)  # type: ignore[misc]
                await rig.until_state("IN_SERVICE")
            assert len(list(rig.layout.versions.iterdir())) == 3
            await asyncio.sleep(700)
            assert len(list(rig.layout.versions.iterdir())) == 1
            assert len(list(rig.layout.blobs.iterdir())) == 1
            assert rig.state() == "IN_SERVICE"

    run(scenario())


def test_a_version_that_was_removed_is_fetched_again_before_it_is_started_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            for generation, version in enumerate("12", start=1):
                rig.assign(assignment(version, generation=generation))
                await rig.until(lambda g=generation: rig.status().observed_generation == g)  # type: ignore[misc]
                await rig.until_state("IN_SERVICE")
            await asyncio.sleep(700)
            (left,) = rig.layout.versions.iterdir()
            rig.source.away = True
            rig.assign(assignment("1", generation=3))
            await rig.until(lambda: rig.condition("ArtifactReady") == "SOURCE_UNREACHABLE")
            assert list(rig.running().values()) == ["2"]
            rig.source.away = False
            await rig.until_state("IN_SERVICE")
            assert len({left, *rig.layout.versions.iterdir()}) == 2

    run(scenario())


def test_room_is_made_for_a_new_version_by_what_nobody_needs(rig: Rig) -> None:
    async def scenario() -> None:
        rig.artifact_bytes_max = 2 * len("model 1")
        async with rig.agent():
            for generation, version in enumerate("1234", start=1):
                rig.assign(assignment(version, generation=generation))
                await rig.until(lambda g=generation: rig.status().observed_generation == g)  # type: ignore[misc]
                await rig.until_state("IN_SERVICE", within_s=5)

    run(scenario())


def test_a_disk_that_is_full_of_what_is_needed_is_told_and_harms_nothing(rig: Rig) -> None:
    async def scenario() -> None:
        rig.artifact_bytes_max = len("model 1")
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.assign(assignment("2", generation=2))
            await asyncio.sleep(100)
            assert rig.state() == "UPDATING"
            assert rig.condition("ArtifactReady") == "DISK_FULL"
            assert rig.status().hint.startswith("free space")
            assert list(rig.running().values()) == ["1"]

    run(scenario())


def test_a_source_that_is_away_is_waited_for_and_asked_at_once_when_it_is_back(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent() as supervisor:
            rig.source.away = True
            rig.assign(assignment())
            await asyncio.sleep(300)
            assert rig.state() == "DEPLOYING"
            assert rig.condition("ArtifactReady") == "SOURCE_UNREACHABLE"
            rig.source.away = False
            supervisor.source_is_back()
            await rig.until_state("IN_SERVICE", within_s=1)

    run(scenario())


def test_a_gateway_that_refuses_says_why_and_is_asked_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.gateway.refuse = Precondition("ADDRESS_IN_USE", "127.0.0.1:7680 is taken", "stop it")
            rig.assign(assignment())
            await rig.until_state("OUT_OF_SERVICE")
            assert rig.condition("RouteReady") == "ADDRESS_IN_USE"
            assert rig.status().hint == "stop it"
            rig.gateway.refuse = None
            await rig.until_state("IN_SERVICE", within_s=10)

    run(scenario())


def test_a_gateway_that_died_gets_its_routes_back_and_the_position_is_proved_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            probes = rig.probes
            rig.gateway.die()
            await rig.until(lambda: len(rig.routed()) == 1, within_s=2)
            await rig.until(lambda: rig.probes > probes, within_s=2)
            await rig.until_state("IN_SERVICE", within_s=2)

    run(scenario())


def test_a_dead_monitor_changes_nothing_but_what_is_said_of_it(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.machine.fail_start.add("monitor")
            rig.machine.end(UID, "monitor", Failure("CRASHED", "its process ended with exit code 1", "read its log"))
            await asyncio.sleep(1)
            assert rig.state() == "IN_SERVICE"
            await rig.until_state("DEGRADED")
            assert rig.condition("MonitorConnected") == "LOAD_FAILED"
            assert len(rig.routed()) == 1
            rig.machine.fail_start.clear()
            await rig.until_state("IN_SERVICE", within_s=90)

    run(scenario())


def test_a_monitor_that_dies_after_a_quiet_while_is_given_the_same_time_to_come_back(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            for quiet_s in (9.8, 29.8, 200.0):
                await asyncio.sleep(quiet_s)
                rig.machine.end(UID, "monitor")
                await rig.until(lambda: rig.condition("MonitorConnected") != "TRUE")
                await rig.until(lambda: rig.condition("MonitorConnected") == "TRUE")
            assert rig.reports.states == ["DEPLOYING", "IN_SERVICE"]

    run(scenario())


def test_a_quiet_position_is_looked_at_rarely(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            await asyncio.sleep(30)
            told = rig.reports.told
            await asyncio.sleep(300)
            assert rig.reports.told - told in (10, 11)

    run(scenario())


def test_a_first_deployment_waits_for_its_monitor(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.monitors.deaf = True
            rig.assign(assignment())
            await asyncio.sleep(5)
            assert rig.state() == "DEPLOYING"
            assert "waits for the position's monitor" in rig.status().message
            rig.monitors.deaf = False
            rig.supervisor.wake(UID)
            await rig.until_state("IN_SERVICE", within_s=0.1)

    run(scenario())


def test_ports_are_given_out_once_and_kept(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(port=True), assignment(uid=OTHER_UID, position=OTHER, port=True))
            await rig.until_state("IN_SERVICE")
            await rig.until_state("IN_SERVICE", OTHER)
            ports = {rig.status().endpoint.port, rig.status(OTHER).endpoint.port}
            assert ports == {7700, 7701}
            third = "projects/p/applications/a/positions/tower-9"
            more = assignment(uid=UID.replace("7f4c", "9f4c"), position=third, port=True)
            rig.assign(assignment(port=True), assignment(uid=OTHER_UID, position=OTHER, port=True), more)
            await rig.until_state("DEGRADED", third)
            assert "no port between 7700 and 7701 is left" in rig.status(third).message
            rig.assign(assignment(port=True), more)
            await rig.until_state("IN_SERVICE", third)

    run(scenario())


def test_limits_that_cannot_be_kept_are_refused_with_a_reason(rig: Rig) -> None:
    async def scenario() -> None:
        rig.machine.limits_supported = False
        async with rig.agent():
            limited = assignment()
            limited.spec.resources.memory_bytes = 1 << 28
            rig.assign(limited)
            await rig.until_state("OUT_OF_SERVICE")
            assert rig.condition("HostsReady") == "LIMITS_UNSUPPORTED"
            rig.assign(assignment(generation=2))
            await rig.until_state("IN_SERVICE")

    run(scenario())


def test_the_monitor_is_told_what_runs_and_what_was_decided(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            rig.decide(decision(4, ("1", 2, 100)))
            await rig.until(lambda: rig.monitors.orders[POSITION].decision.number == 4)
            orders = rig.monitors.orders[POSITION]
            assert {replica.id for replica in orders.replicas} == rig.running().keys()
            assert {replica.id for replica in orders.endpoints.replicas} == rig.routed().keys()
            assert orders.endpoints.endpoint.gateway == "http://127.0.0.1:7680"
            assert orders.digest == model_version("1").digest
            assert orders.server_cpu_millis == 2000

    run(scenario())


@asynccontextmanager
async def capacity(rig: Rig, least: int) -> AsyncIterator[None]:
    """Fails where fewer hosts than `least` ever answer inside the gateway's route."""
    fewest = [least]

    async def watch() -> None:
        while True:
            fewest.append(sum(rig.machine.answers(UID, id_) for id_ in rig.routed()))
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield
        watching.cancel()
    assert min(fewest) == least


@pytest.mark.parametrize("seed", range(6))
def test_an_agent_killed_at_any_moment_of_a_swap_goes_on_and_loses_no_capacity(rig: Rig, seed: int) -> None:
    """Agents live for a few hundredths of a second each; the swap must still come to its end."""

    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
        async with capacity(rig, 2):
            async with rig.agent():
                rig.assign(assignment("2", generation=2, replicas=2))
                rig.decide(decision(1, ("2", 2, 100)))
            for life in range(40):
                async with rig.agent():
                    await asyncio.sleep(0.003 + (seed * 7 + life * 11) % 17 / 100)
            async with rig.agent():
                await rig.until_state("IN_SERVICE")
                assert list(rig.running().values()) == ["2", "2"]
                assert rig.routed().keys() == rig.running().keys()
                assert rig.status().observed_generation == 2
        assert rig.machine.starts == 2 + 2 + 1

    run(scenario())


class Killed(BaseException):
    """The agent is gone."""


def test_an_agent_killed_at_any_write_goes_on_where_it_was(rig: Rig) -> None:
    """Every rename is a moment at which something becomes true on disk: the agent dies before it, and after it."""

    def dying(real: Callable[..., None], call: int, *, after: bool) -> Callable[..., None]:
        calls = count()

        def replace_file(*arguments: object) -> None:
            number = next(calls)
            if number == call and not after:
                raise Killed
            real(*arguments)
            if number == call:
                raise Killed

        return replace_file

    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
        deaths, generation = 0, 1
        async with capacity(rig, 1):
            for call in range(14):
                for after in (False, True):
                    generation += 1
                    version = "12"[generation % 2]
                    with (
                        suppress(BaseExceptionGroup),
                        patch.object(os, "replace", dying(os.replace, call, after=after)),
                    ):
                        async with rig.agent():
                            rig.assign(assignment(version, generation=generation))
                            await rig.until_state("IN_SERVICE")
                            await asyncio.sleep(1)
                            deaths -= 1
                    deaths += 1
                    async with rig.agent():
                        rig.assign(assignment(version, generation=generation))
                        await rig.until(lambda g=generation: rig.status().observed_generation == g)  # type: ignore[misc]
                        await rig.until_state("IN_SERVICE")
                        await rig.until(lambda v=version: list(rig.running().values()) == [v])  # type: ignore[misc]
        assert deaths >= 8
        assert len(rig.machine.of(UID)) == 2

    run(scenario())


def test_drivers_of_two_agents_see_the_same_machine(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
        first, second = FakeDriver(rig.machine), FakeDriver(replace(rig.machine))
        assert list(first.observe(UID)) == list(second.observe(UID))

    run(scenario())


def alone_for(seconds: float) -> PositionAssignment:
    """May serve so long without the control plane."""
    asked = assignment(replicas=2)
    asked.spec.on_disconnect.stop_after.FromMilliseconds(round(seconds * 1000))
    return asked


def test_a_position_stops_when_it_has_been_alone_for_too_long_and_serves_again_when_it_is_not(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.hears(connected=True)
            rig.assign(alone_for(60.0))
            await rig.until_state("IN_SERVICE")
            rig.hears(connected=False)
            await asyncio.sleep(59.0)
            assert rig.state() == "IN_SERVICE"
            await rig.until(lambda: not rig.running() and not rig.routed(), within_s=5.0)
            assert rig.state() == "OUT_OF_SERVICE"
            assert rig.condition("HostsReady") == "STOPPED_ALONE"
            rig.hears(connected=True)
            await rig.until_state("IN_SERVICE")

    run(scenario())


def test_the_time_alone_goes_on_while_the_agent_is_dead(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.hears(connected=True)
            rig.assign(alone_for(60.0))
            await rig.until_state("IN_SERVICE")
            rig.hears(connected=False)
            await asyncio.sleep(30.0)
        await asyncio.sleep(20.0)
        assert rig.routed()
        async with rig.agent():
            await asyncio.sleep(9.0)
            assert rig.running()
            await rig.until(lambda: not rig.running() and not rig.routed(), within_s=5.0)

    run(scenario())


def test_nothing_stops_by_being_alone_where_nobody_asked_for_it(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.hears(connected=True)
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.hears(connected=False)
            await asyncio.sleep(10_000.0)
            assert rig.state() == "IN_SERVICE"

    run(scenario())


def test_a_drained_edge_server_serves_nothing_until_it_is_resumed_also_after_a_restart(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            rig.set_mode(Kind.DRAIN, "new fans")
            await rig.until(lambda: not rig.running() and not rig.routed())
            assert rig.state() == "OUT_OF_SERVICE"
            assert rig.condition("HostsReady") == "DRAINED"
            assert "new fans" in rig.status().message
        async with rig.agent():
            await asyncio.sleep(60.0)
            assert not rig.running()
            rig.assign(assignment("2", generation=2))
            await asyncio.sleep(60.0)
            assert not rig.running()
            rig.set_mode(Kind.FOLLOW)
            await rig.until_state("IN_SERVICE")
            assert list(rig.running().values()) == ["2"]

    run(scenario())


def test_while_changes_are_held_what_serves_stays_and_everything_that_waited_is_done_afterwards(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment(replicas=2))
            await rig.until_state("IN_SERVICE")
            rig.set_mode(Kind.HOLD)
            rig.assign(assignment("2", generation=2), assignment(uid=OTHER_UID, position=OTHER))
            await asyncio.sleep(60.0)
            assert list(rig.running().values()) == ["1", "1"]
            assert not rig.running(OTHER_UID)
            assert rig.condition("ChangesApplied") == "HELD"
            assert rig.status().held_generation == 2
            assert rig.condition("HostsReady", OTHER) == "HELD"
        async with rig.agent():
            await asyncio.sleep(60.0)
            assert rig.state() == "UPDATING"
            assert list(rig.running().values()) == ["1", "1"]
            rig.assign()  # deleted meanwhile
            await asyncio.sleep(60.0)
            assert list(rig.running().values()) == ["1", "1"]
            rig.set_mode(Kind.FOLLOW)
            await rig.until(lambda: not rig.running() and not rig.routed())

    run(scenario())


def test_a_host_that_dies_while_changes_are_held_is_started_again(rig: Rig) -> None:
    async def scenario() -> None:
        async with rig.agent():
            rig.assign(assignment())
            await rig.until_state("IN_SERVICE")
            rig.set_mode(Kind.HOLD)
            (replica,) = rig.running()
            rig.machine.end(UID, replica, Failure("CRASHED", "it fell over"))
            assert not rig.running()
            await rig.until_state("IN_SERVICE")

    run(scenario())
