"""`waypost up`, as far as it can be seen without a platform: ports, choices, who is in charge, what is kept alive."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from console.local import alone, choices, ports, raising, stopping, supervision
from console.local.choices import Choices, Ports
from console.local.components import Layout, components
from console.local.following import changes
from console.local.ports import Holder, Need
from mesh.processes import Process
from tests.unit.console.conftest import Run
from tests.waiting import until
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED, EdgeServer
from waypost.api.control.v1.watch_pb2 import WatchResponse
from waypost.errors import AlreadyExists, Invalid, Precondition


def test_one_number_shifts_all_ports() -> None:
    assert Ports.from_base(7600) == Ports(7600, 7601, 7610, 7680, "7700-7799")
    assert Ports.from_base(9000) == Ports(9000, 9001, 9010, 9080, "9100-9199")
    with pytest.raises(Invalid, match="no room for the platform's ports from 65500"):
        Ports.from_base(65500)


def test_what_was_chosen_once_is_kept_until_something_else_is_said(tmp_path: Path) -> None:
    path = tmp_path / "new" / "platform.json"
    assert choices.remembered(path) == Choices()
    first = choices.changed(Choices(), 9000, ports={"gateway": 8080}, rest={"project": "uav", "training": None})
    choices.remember(path, first)
    assert choices.remembered(path) == first
    again = choices.changed(first, None, ports={"gateway": None}, rest={"project": "beam"})
    assert (again.ports.api, again.ports.gateway, again.project) == (9000, 8080, "beam")
    path.write_text("{}")
    with pytest.raises(Invalid, match="cannot be read"):
        choices.remembered(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gateway": 7600}, "port 7600 is wanted twice"),
        ({"training": 7750}, "port 7750 is wanted twice"),
        ({"api": 70000}, "70000 is no port"),
        ({"positions": "7700"}, "'7700' is no range of ports"),
    ],
)
def test_ports_that_cannot_be_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        choices.check(choices.changed(Choices(), None, ports=given, rest={}))


def test_a_taken_port_names_its_holder_and_the_flag() -> None:
    need = Need(7680, "gateway", "--gateway-port", "agent")
    error = ports.conflict(need, Holder(4711, "nginx", "www", "nginx: master process"))
    assert error.message == (
        "port 7680, wanted for the gateway, is taken by nginx (pid 4711, of www): nginx: master process"
    )
    assert error.hint == (
        "stop it (kill 4711), or choose another port with --gateway-port, or shift all ports with --port-base"
    )
    assert "a process that only its owner may see" in ports.conflict(need, None).message


def test_a_port_that_we_hold_ourselves_is_found_and_one_of_the_same_platform_is_no_conflict(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        need = Need(port, "gateway", "--gateway-port", "agent")
        with pytest.raises(Precondition, match=rf"taken by .* \(pid {os.getpid()}, "):
            ports.refuse_taken([need], tmp_path)
    ports.refuse_taken([need], tmp_path)


def test_a_taken_port_ends_up_before_anything_is_started(waypost: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code, _, err = waypost("up", "--data-dir", str(tmp_path), "--api-port", str(port), "--detach")
    assert code == 1
    assert f"error: port {port}, wanted for the control plane's API, is taken by" in err
    assert not (tmp_path / "processes").exists()


def test_only_one_up_is_in_charge_of_a_data_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    assert alone.holder(layout) is None
    with alone.alone(layout, 0.0):
        found = alone.holder(layout)
        assert found is not None
        assert (found.pid, found.detached) == (os.getpid(), False)
        with pytest.raises(AlreadyExists) as refused, alone.alone(layout, found.since + 200):
            pass
        assert refused.value.message == (
            f"a platform runs in {layout.data_dir} already (pid {os.getpid()}, since 3 min ago)"
        )
        assert f"`waypost down --data-dir {layout.data_dir}` stops it" in refused.value.hint
    assert alone.holder(layout) is None


def test_an_up_that_begins_while_somebody_looks_whether_one_runs_is_in_charge(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with open(layout.lock, "w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        with alone.alone(layout, 0.0):
            end.join()
            assert alone.holder(layout) is not None


def test_children_of_an_up_do_not_hold_its_place(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with alone.alone(layout, 0.0):
        child = subprocess.Popen(["sleep", "60"])
    try:
        assert alone.holder(layout) is None
    finally:
        child.kill()
        child.wait()


def test_every_component_is_told_where_the_others_are(tmp_path: Path) -> None:
    chosen = Choices(Ports.from_base(9000), edge_server="edge-9")
    training, control_plane, agent = components(Layout(tmp_path), chosen)
    assert training.argv[:4] == (sys.executable, "-m", "training_platform", "serve")
    assert "127.0.0.1:9010" in training.argv
    assert {"127.0.0.1:9000", "127.0.0.1:9001"} <= set(control_plane.argv)
    assert {"127.0.0.1:9001", "127.0.0.1:9080", "9100-9199", "edge-9"} <= set(agent.argv)


@pytest.mark.parametrize("program", ["echo ready; exec sleep 60", "sleep 60 & echo ready; wait"])
def test_what_dies_is_started_again_also_when_somebody_else_started_it(tmp_path: Path, program: str) -> None:
    starter = Process(tmp_path / "p")
    starter.spawn(["sh", "-c", program])
    adopted = Process(tmp_path / "p")
    said: list[str] = []

    async def scenario() -> None:
        keeping = asyncio.create_task(supervision.keep("p", adopted, lambda name, what: said.append(what)))
        first = await _pid(adopted, other_than=None)
        while "ready" not in adopted.tail(1):  # noqa: ASYNC110  another process's start
            await asyncio.sleep(0.01)
        os.kill(first, signal.SIGKILL)
        assert await _pid(adopted, other_than=first) != first
        keeping.cancel()
        await adopted.stop(1.0)

    asyncio.run(scenario())
    assert not starter.alive()
    assert said == ["ended; starts again in 0.2 s", "started again"]


async def _pid(process: Process, *, other_than: int | None) -> int:
    pid = await until(process.pid, lambda pid: pid not in (None, other_than))
    assert pid is not None
    return pid


def test_stopping_nothing_is_harmless(waypost: Run, tmp_path: Path) -> None:
    assert waypost("down", "--data-dir", str(tmp_path)) == (0, "", f"nothing runs in {tmp_path}\n")


def test_what_runs_without_an_up_is_stopped_and_named(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    starter = layout.process("control-plane")
    starter.spawn(["sleep", "60"])
    said: list[str] = []
    assert asyncio.run(stopping.stop_everything(layout, said.append))
    assert [line.split(" (")[0] for line in said] == ["control plane stopped"]
    assert not starter.alive()


class Shown:
    """The API, as far as one edge server is read from it."""

    def __init__(self, server: EdgeServer) -> None:
        self.server = server

    def get(self, kind: object, name: str) -> EdgeServer:
        return self.server


def test_what_an_agent_that_is_no_more_had_said_of_itself_is_not_believed() -> None:
    wanted = Ports.from_base(7600)
    server = EdgeServer(name="edgeServers/edge-1")
    server.status.state = EDGE_SERVER_STATE_CONNECTED
    server.status.gateway_address = f"http://127.0.0.1:{wanted.gateway}"
    server.status.connected_since_time.FromMilliseconds(1_800_000_000_000)
    shown = Shown(server)
    for since, known in ((1_800_000_000.0, server), (1_800_000_000.001, None)):
        assert raising._connected(shown, server.name, since, wanted) == known
    server.status.gateway_address = "http://127.0.0.1:1"
    assert raising._connected(shown, server.name, 0.0, wanted) is None


def test_news_is_said_once_and_what_is_gone_is_said_too() -> None:
    server = EdgeServer(name="edgeServers/edge-1")
    server.status.state = 2
    server.status.message = "connected for 1 s"
    seen: dict[str, str] = {}
    news = WatchResponse(edge_server=server)
    assert changes(news, seen) == [("edge-1", "CONNECTED  connected for 1 s")]
    assert changes(news, seen) == []
    assert changes(WatchResponse(deleted="edgeServers/edge-1"), seen) == [("edge-1", "is gone")]
    assert changes(WatchResponse(deleted="edgeServers/edge-1"), seen) == []
