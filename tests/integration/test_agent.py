"""A real agent, real Envoy, real monitors and hosts; the control plane is the test's. See agent_world.py."""

import asyncio
import json
import random
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from inference_host.serving.execution import HUNG_MAX
from mesh import clock
from mesh.processes import Process
from mesh.tokens import mint
from tests import models
from tests.integration.agent_world import (
    POSITION,
    UID,
    AgentProcess,
    ControlPlane,
    assignment,
    kill,
    template_version,
    until,
    version,
    world,
)
from tests.waiting import PATIENCE_S
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE
from waypost.api.inference.v1.inference_pb2 import ModelInferRequest, ModelInferResponse
from waypost.api.link.v1.command_pb2 import ClearRejected, Command, ReadLogs, TryInference
from waypost.errors import DeadlineExceeded, MeshError, NotFound, Unavailable
from waypost.rpc import open_aio_channel


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(4 * PATIENCE_S):
            await scenario

    asyncio.run(bounded())


@pytest.fixture
def graphs(tmp_path: Path) -> list[Path]:
    """y = 2 x + 1, y = 3 x + 1."""
    return [models.affine(tmp_path / f"{scale}.onnx", scale=scale) for scale in (2.0, 3.0)]


def request(*row: float) -> ModelInferRequest:
    built = ModelInferRequest(model_name="tower-7")
    built.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    built.raw_input_contents.append(struct.pack("<4f", *(row or (1, 2, 3, 4))))
    return built


@dataclass(slots=True)
class Traffic:
    """What an xApp that calls all the time has seen."""

    answers: dict[float, int] = field(default_factory=dict)
    """First number of the answer, 2 x + 1 or 3 x + 1 of 1: how often."""
    errors: list[MeshError] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.answers.values())


Infer: TypeAlias = Callable[[ModelInferRequest, float], Awaitable[ModelInferResponse]]
"""A request, and how many seconds its caller waits. Raises: MeshError."""


@asynccontextmanager
async def caller(agent: AgentProcess) -> AsyncIterator[Infer]:
    """Calls the position through the gateway, without any retry."""
    token = mint(agent.key(), audience=UID, subject="test", client="test", now=clock.now())
    metadata = (("waypost-position", UID), ("authorization", f"Bearer {token}"))
    async with open_aio_channel(agent.gateway) as channel:
        infer: Any = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=ModelInferRequest.SerializeToString,
            response_deserializer=ModelInferResponse.FromString,
        )
        yield lambda request, timeout_s: infer(request, timeout=timeout_s, metadata=metadata)


@asynccontextmanager
async def traffic(agent: AgentProcess) -> AsyncIterator[Traffic]:
    """Calls for as long as the block lasts."""
    seen = Traffic()

    async def call_for_ever() -> None:
        async with caller(agent) as infer:
            while True:
                try:
                    answer = await infer(request(), 5)
                except MeshError as error:
                    seen.errors.append(error)
                else:
                    first = struct.unpack("<4f", answer.raw_output_contents[0])[0]
                    seen.answers[first] = seen.answers.get(first, 0) + 1
                await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as tasks:
        calling = tasks.create_task(call_for_ever())
        yield seen
        calling.cancel()


async def in_service(plane: ControlPlane, agent: AgentProcess, generation: int = 1) -> None:
    await until(lambda: plane.state() == "IN_SERVICE" and plane.status().observed_generation == generation, agent)


def test_a_position_comes_into_service_answers_and_goes(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0]), replicas=2))
            await in_service(plane, agent)
            assert plane.states == ["DEPLOYING", "IN_SERVICE"]
            assert all(condition.status == CONDITION_STATUS_TRUE for condition in plane.status().conditions)
            assert plane.server.gateway_address == f"http://{agent.gateway}"
            assert plane.server.capacity.cpu_millis > 0
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 20, agent)
                assert seen.answers.keys() == {3.0}
            plane.watch(POSITION)
            await until(lambda: any(m.requests > 0 and m.memory_bytes > 0 for m in plane.metrics), agent)

            logs = await plane.command(Command(id="1", read_logs=ReadLogs(position=POSITION, tail_lines=5)))
            assert {piece.log.source for piece in logs} == {"monitor", *agent.processes("r-")}
            tried = TryInference(position=POSITION, request=request().SerializeToString())
            (answer,) = await plane.command(Command(id="2", try_inference=tried))
            response = ModelInferResponse.FromString(answer.inference.response)
            assert struct.unpack("<4f", response.raw_output_contents[0]) == (3.0, 5.0, 7.0, 9.0)
            with pytest.raises(NotFound, match="is not on this edge server"):
                await plane.command(Command(id="3", read_logs=ReadLogs(position=f"{POSITION}8")))

            plane.assign(assignment(version(plane, "1", graphs[0]), deleting=True))
            await until(lambda: plane.reports[POSITION].gone, agent)
            assert agent.processes() == {}
            assert list(agent.data_dir.glob("positions/*")) == []
            plane.assign()
            await until(lambda: POSITION not in plane.reports, agent)

    run(scenario())


def test_an_agent_killed_again_and_again_during_swaps_loses_no_call(tmp_path: Path, graphs: list[Path]) -> None:
    """Every swap comes to its end although the agent dies at random moments of it; the caller notices nothing."""
    rng = random.Random(7)

    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            async with traffic(agent) as seen:
                for generation in (2, 3, 4):
                    wanted = version(plane, str(generation), graphs[(generation + 1) % 2])
                    plane.assign(assignment(wanted, generation=generation))
                    for _ in range(3):
                        await asyncio.sleep(rng.uniform(0.0, 1.2))
                        await agent.end(signal.SIGKILL)
                        agent.start()
                    await in_service(plane, agent, generation)
                    await until(lambda: len(agent.processes("r-")) == 1, agent)
            assert seen.errors == []
            assert seen.answers.keys() == {3.0, 4.0}
            assert len(agent.processes("monitor")) == 1

    run(scenario())


def test_a_restarted_agent_adopts_what_runs_without_its_control_plane(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0]), replicas=2))
            await in_service(plane, agent)
            before = agent.pids()
            async with traffic(agent) as seen:
                await agent.end(signal.SIGTERM)
                assert agent.pids() == before
                await plane.stop()
                leftover = agent.data_dir / "ledger" / ".positions.json.0a_bcdef.unfinished"
                leftover.touch()
                agent.start()
                await until(lambda: "IN_SERVICE" in agent.life(2), agent)
                assert agent.pids() == before
                victim = min(agent.processes("r-"))
                kill(before[victim])
                await until(lambda: len(agent.processes("r-")) == 2, agent)
                plane.reports.clear()
                await plane.start()
                await in_service(plane, agent)
            assert not leftover.exists()
            assert agent.pids().keys() == before.keys()
            assert len(seen.errors) <= 1  # what was in flight in the host that was killed, tried again elsewhere

    run(scenario())


def test_a_monitor_that_is_killed_costs_nothing(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            await until(lambda: plane.reports[POSITION].decision.number > 0, agent)
            async with traffic(agent) as seen:
                number = plane.reports[POSITION].decision.number
                before = agent.pids()
                kill(before["monitor"])
                await until(lambda: agent.pids("monitor").get("monitor") not in (None, before["monitor"]), agent)
                await until(lambda: plane.condition("MonitorConnected") == "TRUE", agent)
            assert seen.errors == []
            assert plane.states == ["DEPLOYING", "IN_SERVICE"]
            assert plane.reports[POSITION].decision.number == number
            assert agent.pids("r-").items() <= before.items()

    run(scenario())


def test_a_host_that_hangs_gets_no_calls_until_it_answers_again(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0]), replicas=2))
            await in_service(plane, agent)
            victim, process = next(iter(agent.processes("r-").items()))
            assert process.signal(signal.SIGSTOP)
            await until(lambda: plane.state() == "DEGRADED" and plane.condition("RouteReady") == "TRUE", agent)
            assert next(r.reason for r in plane.status().replicas if r.id == victim) == "NOT_ANSWERING"
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 50, agent)
            assert seen.errors == []
            assert process.signal(signal.SIGCONT)
            await in_service(plane, agent)
            assert all(replica.starts == 1 for replica in plane.status().replicas)

    run(scenario())


def test_a_host_whose_model_hangs_for_four_calls_is_started_again_and_serves(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, "--hung-after-s", "1") as (plane, agent):
            plane.assign(assignment(template_version(plane, "1", models.HANGING, "Hanging")))
            await in_service(plane, agent)
            (replica,) = agent.processes("r-")
            async with caller(agent) as infer:
                while plane.state() == "IN_SERVICE":
                    with pytest.raises((DeadlineExceeded, Unavailable)):  # the latter from when it has no route
                        await infer(request(-1, 0, 0, 0), 0.5)
                assert any(r.reason == "NOT_ANSWERING" for r in plane.status().replicas)
                await in_service(plane, agent)
                answer = await infer(request(), 5)
            assert struct.unpack("<4f", answer.raw_output_contents[0]) == (3.0, 5.0, 7.0, 9.0)
            assert [(r.id, r.starts) for r in plane.status().replicas] == [(replica, 2)]
            told = await plane.command(Command(id="1", read_logs=ReadLogs(position=POSITION, tail_lines=200)))
            log = next(piece.log for piece in told if piece.log.source == replica)
            given_up = [line for line in log.text.splitlines() if "run_given_up" in line]
            assert len(given_up) == HUNG_MAX
            assert all("threading.Event().wait()" in line for line in given_up)

    run(scenario())


def test_load_is_followed_without_a_control_plane_and_loses_no_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            wanted = assignment(template_version(plane, "1", models.SLOW, "Slow"))
            wanted.spec.replicas.max = 3
            wanted.spec.autoscaling.targets.concurrency = 3
            wanted.spec.autoscaling.scale_down.stabilization_window.FromSeconds(2)
            plane.assign(wanted)
            await in_service(plane, agent)
            await plane.stop()
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 20, agent)
                assert len(agent.processes("r-")) == 1
                async with AsyncExitStack() as stack:
                    crowd = [await stack.enter_async_context(traffic(agent)) for _ in range(16)]
                    await until(lambda: len(agent.processes("r-")) == 3, agent)
                    await until(lambda: sum(each.total for each in crowd) > 1000, agent)
                await until(lambda: len(agent.processes("r-")) == 1, agent)
                answered = seen.total
                await until(lambda: seen.total > answered + 20, agent)
            assert [each.errors for each in (seen, *crowd)] == [[]] * 17
            await plane.start()
            await until(lambda: len([event for event in plane.events if event.reason == "SCALED"]) >= 2, agent)
            assert plane.state() == "IN_SERVICE"

    run(scenario())


def test_a_gateway_that_is_killed_is_back_with_its_routes(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            before = agent.pids()
            kill(Process(agent.data_dir / "gateway").pid())
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 20, agent)
                await in_service(plane, agent)
            assert agent.pids() == before

    run(scenario())


def test_a_version_that_does_not_start_is_rejected_and_the_old_one_serves_on(
    tmp_path: Path, graphs: list[Path]
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            async with traffic(agent) as seen:
                broken = version(plane, "2", models.corrupt(tmp_path / "broken.onnx"))
                plane.assign(assignment(broken, generation=2))
                await until(lambda: plane.state() == "DEGRADED", agent)
                status = plane.status()
                assert status.rejected[0].digest == broken.digest
                assert plane.condition("HostsReady") == "REJECTED"
                assert "affine/2 was rejected here (START_FAILED" in status.message
                assert status.hint
                await until(lambda: len(agent.processes("r-")) == 1, agent)

                cleared = ClearRejected(position=POSITION, digest=broken.digest)
                await plane.command(Command(id="1", clear_rejected=cleared))
                await until(lambda: plane.state() == "UPDATING", agent)
                plane.assign(assignment(version(plane, "3", graphs[1]), generation=3))
                await in_service(plane, agent, 3)
            assert seen.errors == []
            assert {"STATE_CHANGED", "REPLICA_FAILED", "VERSION_REJECTED"} <= {event.reason for event in plane.events}

    run(scenario())


def test_bytes_that_are_not_what_they_should_be_are_never_loaded(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            async with traffic(agent) as seen:
                wanted = version(plane, "2", graphs[1])
                digest = wanted.artifacts[0].digest
                good = plane.source.contents[digest]
                plane.source.contents[digest] = good[:-1] + b"?"
                plane.assign(assignment(wanted, generation=2))
                await until(lambda: plane.condition("ArtifactReady") == "DIGEST_MISMATCH", agent)
                assert plane.state() == "UPDATING"
                plane.source.contents[digest] = good
                await in_service(plane, agent, 2)
            assert seen.errors == []

    run(scenario())


def test_a_full_disk_is_said_and_harms_nothing_that_serves(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        size = graphs[0].stat().st_size
        async with world(tmp_path, "--artifact-bytes-max", str(size * 3 // 2)) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            async with traffic(agent) as seen:
                plane.assign(assignment(version(plane, "2", graphs[1]), generation=2))
                await until(lambda: plane.condition("ArtifactReady") == "DISK_FULL", agent)
                assert plane.state() == "UPDATING"
                assert "free space" in plane.status().hint
                plane.assign(assignment(version(plane, "1", graphs[0]), generation=3))
                await in_service(plane, agent, 3)
            assert seen.errors == []

    run(scenario())


def test_stop_all_ends_everything_and_the_next_agent_brings_it_up_again(tmp_path: Path, graphs: list[Path]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await in_service(plane, agent)
            stopped = await asyncio.to_thread(agent.stop_all)
            assert stopped.returncode == 0, stopped.stderr
            assert "edge agent stopped" in stopped.stdout
            assert "gateway stopped (envoy)" in stopped.stdout
            assert "monitor, r-" in stopped.stdout
            assert not agent.alive
            assert agent.processes() == {}
            again = await asyncio.to_thread(agent.stop_all)
            assert (again.returncode, again.stdout) == (0, "")
            plane.reports.clear()
            agent.start()
            await in_service(plane, agent)

    run(scenario())


def test_a_second_agent_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            second = AgentProcess(tmp_path, plane)
            second._process.directory = tmp_path / "second"
            second.start()
            await until(lambda: not second.alive, agent)
            assert "is used by another agent (pid " in second._process.tail(5)

    run(scenario())


def test_an_agent_does_not_join_a_control_plane_whose_root_is_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path / "good") as (plane, _):
            stranger = AgentProcess(tmp_path / "good", plane)
            stranger.data_dir = tmp_path / "stranger"
            stranger._process.directory = tmp_path / "stranger-process"
            stranger.join_token.write_text(plane.join_token(pin="0" * 64))
            stranger.start()
            await until(lambda: not stranger.alive, stranger)
            assert "does not show the root that the join token names" in stranger._process.tail(5)
            assert not (stranger.data_dir / "identity" / "enrolment.json").exists()

    (tmp_path / "good").mkdir()
    run(scenario())


def test_people_on_the_machine_look_hold_drain_and_resume_without_a_control_plane(
    tmp_path: Path, graphs: list[Path]
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graphs[0])))
            await until(lambda: plane.state() == "IN_SERVICE", agent)
            await plane.stop()
            await until(lambda: "not heard for" in agent.ask("status").stdout, agent)
            said = agent.ask("status").stdout
            assert "IN_SERVICE" in said
            assert "p/a/tower-7" in said
            assert "host_ready" in agent.ask("logs", "p/a/tower-7").stdout

            drained = agent.ask("drain", "--reason", "new fans")
            assert drained.stdout == "drains: nothing is served here\n"
            await until(lambda: not any(agent.pids("r-").values()), agent)
            await until(lambda: "OUT_OF_SERVICE" in agent.ask("status").stdout, agent)
            assert "(new fans)" in agent.ask("status").stdout
            await agent.end()
            nobody = agent.ask("status")
            assert (nobody.returncode, nobody.stdout) == (1, "")
            assert "no agent runs in" in nobody.stderr

            agent.start()
            await until(lambda: agent.ask("resume").returncode == 0, agent)
            await until(lambda: "IN_SERVICE" in agent.ask("status").stdout, agent)
            held = json.loads(agent.ask("hold", "--json").stdout)
            assert held["mode"] == "AGENT_MODE_HOLD"
            unknown = agent.ask("logs", "p/a/nowhere")
            assert unknown.returncode == 1
            assert "is not on this edge server" in unknown.stderr

    run(scenario())
