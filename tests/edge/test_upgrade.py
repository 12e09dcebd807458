"""The version before and the one of now together: agents, control planes, hosts; and an upgrade from one to the other.

The version before is the last commit whose agent knew no versions of the software (tests/versions.py).
"""

import asyncio
import json
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from edge_agent.state.pages import Page
from mesh.version import VERSION
from tests import models
from tests.integration.agent_world import (
    AgentProcess,
    ControlPlane,
    assignment,
    until,
    version,
    world,
)
from tests.integration.control_plane_process import (
    ControlPlaneProcess,
    make_application,
    make_edge_server,
)
from tests.integration.control_plane_process import until as until_shown
from tests.integration.test_agent import in_service, run, traffic
from tests.integration.test_control_plane import deploy, is_connected, is_judged, make_version, shown
from tests.integration.test_control_plane import version as shown_version
from tests.versions import OLD, ROOT, environment, one_file, renumbered, unpacked
from waypost.api.control.v1 import edge_server_pb2, edge_server_pb2_grpc, position_pb2, position_pb2_grpc
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment

BEFORE = "abb6754"
"""The last commit whose agent and control plane know no versions of the software and no maintenance windows."""


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return renumbered(unpacked(BEFORE, tmp_path_factory.mktemp("before")))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """y = 2 x + 1."""
    return models.affine(tmp_path / "model.onnx", scale=2.0)


def of(software: str, wanted: PositionAssignment) -> PositionAssignment:
    wanted.spec.software_version = software
    return wanted


def software(plane: ControlPlane) -> list[str]:
    """Of the replicas, then of the monitor."""
    status = plane.status()
    return [*(replica.software_version for replica in status.replicas), status.monitor_software_version]


def test_what_the_version_before_sends_and_has_written_means_the_same_now(tmp_path: Path) -> None:
    """Fields may have gone and come, but no number means two things. Rules: buf.build/docs/breaking/rules (WIRE)."""
    (tmp_path / "buf.yaml").write_text("version: v2\nbreaking:\n  use: [WIRE]\n")
    (tmp_path / "before.binpb").write_bytes(one_file(BEFORE, "protos/baseline.binpb"))
    subprocess.run([sys.executable, "tools/gen_protos.py", "--image", tmp_path / "now.binpb"], check=True, cwd=ROOT)
    buf = Path(sysconfig.get_path("scripts")) / "buf"
    command = [buf, "breaking", "now.binpb", "--against", "before.binpb", "--config", "buf.yaml", "--path", "waypost"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- on one machine --------------------------------------------------------------------------------------------------


def test_hosts_of_the_version_before_run_under_this_agent_and_are_replaced_without_a_call_lost(
    tmp_path: Path, graph: Path, old_code: Path
) -> None:
    environment(tmp_path / "edge" / "software", OLD, old_code)

    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            wanted = version(plane, "1", graph)
            plane.assign(of(OLD, assignment(wanted)))
            await in_service(plane, agent)
            await until(lambda: software(plane) == [OLD, OLD], agent)
            assert plane.server.software_versions == [OLD, VERSION]
            assert all(f"/software/{OLD}/" in process.command()[0] for process in agent.processes().values())
            monitor = agent.pids("monitor")
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 20, agent)
                plane.assign(assignment(wanted, generation=2))
                await in_service(plane, agent, generation=2)
                await until(lambda: software(plane) == [VERSION, VERSION], agent)
                await until(lambda: plane.condition("MonitorConnected") == "TRUE", agent)
                assert agent.pids("monitor") != monitor
                total = seen.total
                await until(lambda: seen.total > total + 20, agent)
            assert seen.errors == []
            decided = plane.reports[next(iter(plane.reports))].decision
            assert (decided.number > 0, decided.shares[0].weight) == (True, 100)

    run(scenario())


def test_software_that_is_not_installed_changes_nothing_and_says_how_to_install_it(tmp_path: Path, graph: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (plane, agent):
            wanted = version(plane, "1", graph)
            plane.assign(assignment(wanted))
            await in_service(plane, agent)
            pids = agent.pids()
            plane.assign(of("9.9.9", assignment(wanted, generation=2)))
            await until(lambda: plane.condition("ChangesApplied") == "SOFTWARE_NOT_INSTALLED", agent)
            assert plane.state() == "DEGRADED"
            assert plane.status().hint.startswith("`waypost agent install 9.9.9`")
            assert agent.pids() == pids

    run(scenario())


class Supervised(AgentProcess):
    """An agent that something starts again whenever it ends, from `current`, as systemd does with Restart=always."""

    def __init__(self, directory: Path, plane: ControlPlane) -> None:
        super().__init__(directory, plane)
        self.current = self.data_dir / "software" / "current"
        loop = 'while :; do "$@"; sleep 0.1; done'
        self.program = ("/bin/sh", "-c", loop, "sh", str(self.current / "bin" / "python"), "-P", "-m", "edge_agent")

    def give_up(self) -> None:
        """Ends the loop, and not the agent: which holds its lock with it."""
        assert self._process.signal(signal.SIGKILL)

    def upgrade(self, to: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """By the version that is to come: the one before cannot do this yet."""
        return self.ask("upgrade", to, *options)

    def status(self) -> dict[str, str]:
        """State of each position, by the agent itself, and its own version."""
        told = json.loads(self.ask("status", "--json").stdout)
        states = {each["name"]: each["status"]["state"] for each in told.get("positions", ())}
        return {"agent": told["software_version"], **states}


@asynccontextmanager
async def supervised(directory: Path, code: dict[str, Path]) -> AsyncIterator[tuple[ControlPlane, Supervised]]:
    """An agent of the first of these versions, all of which are installed on its machine."""
    plane = ControlPlane(directory)
    await plane.start()
    agent = Supervised(directory, plane)
    for name, tree in code.items():
        environment(agent.data_dir / "software", name, tree)
    agent.current.symlink_to(next(iter(code)))
    try:
        agent.start()
        await until(lambda: plane.sessions > 0, agent)
        yield plane, agent
    finally:
        agent.give_up()
        stopped = await asyncio.to_thread(agent.stop_all)
        await plane.stop()
        assert stopped.returncode == 0, stopped.stderr


def test_an_agent_is_upgraded_under_an_xapp_that_calls_all_the_time_and_no_call_is_lost(
    tmp_path: Path, graph: Path, old_code: Path
) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, {OLD: old_code, VERSION: ROOT}) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            assert plane.server.agent_version == OLD
            monitor = agent.pids("monitor")
            async with traffic(agent) as seen:
                await until(lambda: seen.total > 20, agent)
                done = await asyncio.to_thread(agent.upgrade, VERSION)
                assert (done.returncode, done.stderr) == (0, "")
                assert done.stdout.endswith(f"the agent is {VERSION}, was {OLD}; it has 1 position that serves\n")
                await until(lambda: software(plane) == [VERSION, VERSION], agent)
                await until(lambda: plane.state() == "IN_SERVICE", agent)
                total = seen.total
                await until(lambda: seen.total > total + 20, agent)
            assert seen.errors == []
            assert agent.pids("monitor") != monitor
            assert agent.current.readlink() == Path(VERSION)
            again = await asyncio.to_thread(agent.upgrade, VERSION)
            assert again.stdout == f"the agent is {VERSION} already\n"

    run(scenario())


def test_an_upgrade_that_fails_goes_back_to_the_version_before_which_reads_what_this_one_wrote(
    tmp_path: Path, graph: Path, old_code: Path
) -> None:
    """0.2.0 starts as what this version is, writes its ledger, and dies before it answers anybody."""
    broken = tmp_path / "broken"
    (broken / "edge_agent").mkdir(parents=True)
    (broken / "edge_agent" / "__main__.py").write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "if sys.argv[1] != 'check':\n"
        f"    sys.path[:0] = {[str(ROOT), str(ROOT / 'sdk' / 'python' / 'src')]!r}\n"
        "    for name in [name for name in sys.modules if name.startswith('edge_agent')]:\n"
        "        del sys.modules[name]\n"
        "    from edge_agent.state.ledger import Ledger\n"
        "    from dataclasses import replace\n"
        f"    ledger = Ledger(Path({str(tmp_path / 'edge' / 'ledger')!r}))\n"
        "    for record in list(ledger.records.values()):\n"
        "        ledger.keep_record(replace(record, assignment=b'of a newer agent'))\n"
        "    sys.exit('broken')\n"
    )

    async def scenario() -> None:
        async with supervised(tmp_path, {OLD: old_code, "0.2.0": broken}) as (plane, agent):
            plane.assign(assignment(version(plane, "1", graph)))
            await in_service(plane, agent)
            pids = agent.pids()
            async with traffic(agent) as seen:
                done = await asyncio.to_thread(agent.upgrade, "0.2.0", "--patience-s", "5")
                assert done.returncode == 1
                assert f"no agent runs; {OLD} runs again" in done.stderr
            assert seen.errors == []
            assert agent.current.readlink() == Path(OLD)
            await until(lambda: agent.status().get("agent") == OLD and len(agent.status()) == 2, agent)
            assert set(agent.status().values()) == {OLD, "POSITION_STATE_IN_SERVICE"}
            assert agent.pids() == pids

    run(scenario())


def test_a_version_that_cannot_read_the_ledger_is_not_upgraded_to(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with supervised(tmp_path, {VERSION: ROOT, "0.2.0": ROOT}) as (_, agent):
            Page(agent.data_dir / "ledger" / "mode.json", form=2).write({})
            done = await asyncio.to_thread(agent.upgrade, "0.2.0")
            assert "error: 0.2.0 cannot go on from what is here" in done.stderr
            assert "has format 2" in done.stderr
            assert agent.current.readlink() == Path(VERSION)

    run(scenario())


def test_an_agent_that_was_not_started_from_the_link_is_not_upgraded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (_, agent):
            done = await asyncio.to_thread(agent.ask, "upgrade", "0.2.0")
            assert f"`waypost agent install {VERSION}` makes that link" in done.stderr

    run(scenario())


# ---- over the link ---------------------------------------------------------------------------------------------------


class Joining:
    """What an agent's process needs of a control plane."""

    def __init__(self, plane: ControlPlaneProcess, token: str) -> None:
        self.api = plane.api
        self.join_token = lambda: token


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlaneProcess]:
    process = ControlPlaneProcess(tmp_path / "plane", "--lease-s", "3", "--heartbeat-s", "0.5")
    yield process
    process.kill()


async def joined(plane: ControlPlaneProcess, directory: Path, python: Path | str, *options: str) -> AgentProcess:
    async with plane.channel() as channel:
        token = await make_edge_server(channel, "tower")
    agent = AgentProcess(directory, Joining(plane, token), *options)  # type: ignore[arg-type]
    agent.program = (str(python), "-P", "-m", "edge_agent")
    agent.start()
    await until_shown(lambda: shown(plane), is_connected)
    return agent


async def in_service_at(plane: ControlPlaneProcess, application: str, graph: Path) -> position_pb2.Position:
    async with plane.channel() as channel:
        name = await make_version(channel, application, "1", graph)
        await until_shown(lambda: shown_version(plane, name), is_judged)
        position = (await deploy(channel, application, name, "cell")).name
        stub = position_pb2_grpc.PositionServiceStub(channel)

        async def read() -> position_pb2.Position:
            return (await stub.GetPosition(position_pb2.GetPositionRequest(name=position))).position

        wanted = position_pb2.POSITION_STATE_IN_SERVICE
        return await until_shown(read, lambda found: found.status.state == wanted)


@pytest.mark.parametrize(("agents", "planes"), [("old", "new"), ("new", "old")])
def test_a_position_comes_into_service_between_an_agent_and_a_control_plane_of_different_versions(
    tmp_path: Path, graph: Path, old_code: Path, plane: ControlPlaneProcess, agents: str, planes: str
) -> None:
    python = environment(tmp_path / "old", OLD, old_code) if agents == "old" else sys.executable
    plane.code = old_code if planes == "old" else None

    async def scenario() -> None:
        await asyncio.to_thread(plane.start)
        async with plane.channel() as channel:
            application = await make_application(channel)
        agent = await joined(plane, tmp_path, python)
        try:
            position = await in_service_at(plane, application, graph)
            if agents == "old":
                assert not position.status.replicas[0].software_version
                await tell_windows_to_one_that_cannot_keep_them(plane)
            else:
                assert position.status.replicas[0].software_version == VERSION  # kept, though not known there
        finally:
            await agent.end(signal.SIGTERM)
            stopped = await asyncio.to_thread(agent.stop_all)
        assert stopped.returncode == 0

    run(scenario())


async def tell_windows_to_one_that_cannot_keep_them(plane: ControlPlaneProcess) -> None:
    """It says so, and goes on as it is."""
    window = edge_server_pb2.MaintenanceWindow(start="02:00", duration=Duration(seconds=3600))
    server = edge_server_pb2.EdgeServer(name="edgeServers/tower", spec={"maintenance_windows": [window]})
    async with plane.channel() as channel:
        stub = edge_server_pb2_grpc.EdgeServerServiceStub(channel)
        request = edge_server_pb2.UpdateEdgeServerRequest(edge_server=server)
        request.update_mask.paths.append("spec")
        await stub.UpdateEdgeServer(request)
    told = await until_shown(lambda: shown(plane), lambda found: bool(found.status.refused))
    assert [refused.position for refused in told.status.refused] == ["edgeServers/tower"]
    assert told.status.state == edge_server_pb2.EDGE_SERVER_STATE_CONNECTED
