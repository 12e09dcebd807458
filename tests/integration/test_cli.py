"""`waypost up` for real: a whole platform of processes, driven by the command line alone."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from tests.integration.command_line import WAYPOST
from tests.ports import free_port_base
from tests.waiting import wait_until

UP_S = 90  # of a machine that does other things; an idle one takes 6
TOWER = "demo/arithmetic/tower-7"


@dataclass(frozen=True, slots=True)
class Home:
    """A data directory and a configuration of the test's own, and ports that are free."""

    directory: Path
    port_base: int

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WAYPOST_")}
        return {**kept, "WAYPOST_CONFIG_DIR": str(self.directory / "configuration")}

    def waypost(self, *arguments: str, code: int = 0, timeout: float = UP_S) -> str:
        """Runs a command and returns what it printed; stderr where it was to fail."""
        done = self._run(arguments, timeout)
        assert done.returncode == code, f"waypost {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def answers(self) -> bool:
        """Whether a platform answers at all."""
        return self._run(["status"], UP_S).returncode == 0

    def _run(self, arguments: Sequence[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        argv = [*WAYPOST, *arguments]
        return subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False)

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.waypost(*arguments, "-o", "json", code=code))

    def up(self, *arguments: str) -> Any:
        return self.json("up", *self._place(), "--detach", *arguments)

    @contextmanager
    def up_in_foreground(self) -> Iterator["subprocess.Popen[str]"]:
        argv = [*WAYPOST, "up", *self._place()]
        out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(argv, env=self.environment, text=True, **out) as process:
            try:
                yield process
            finally:
                process.kill()

    def down(self) -> str:
        return self.waypost("down", "--data-dir", str(self.data_dir), timeout=UP_S)

    def _place(self) -> tuple[str, ...]:
        return "--data-dir", str(self.data_dir), "--port-base", str(self.port_base)

    def processes(self) -> dict[int, str]:
        """Everything that runs for this data directory, whoever started it."""
        found = {}
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            command = " ".join(process.info["cmdline"] or ())
            if str(self.data_dir) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
                found[process.info["pid"]] = command
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A platform's place; whatever runs there in the end is stopped, and the logs are shown where a test failed."""
    made = Home(tmp_path, free_port_base())
    yield made
    with contextlib.suppress(Exception):
        made.down()
    for pid in made.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def doubling_model(path: Path) -> Path:
    """y = 2 x."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "double", [x], [y], [two])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def publish(home: Home, version: str) -> None:
    directory = home.data_dir / "training"
    model = doubling_model(home.directory / "double.onnx")
    home.waypost("training", "publish", str(directory), f"arithmetic/double/{version}", "--onnx", str(model))


def imported(home: Home, version: str) -> bool:
    versions = home.json("model", "version", "list")
    return any(found["name"].endswith(f"versions/{version}") for found in versions)


def test_a_platform_from_nothing_to_an_answer_and_to_nothing_again(home: Home) -> None:
    ready = home.up()
    assert ready["gateway"] == f"http://127.0.0.1:{home.port_base + 80}"
    assert all(ready["processes"].values())

    status = home.json("status")
    assert [server["status"]["state"] for server in status["edge_servers"]] == ["EDGE_SERVER_STATE_CONNECTED"]

    refused = home.waypost("up", "--data-dir", str(home.data_dir), code=1)
    assert f"(pid {ready['processes']['supervisor']}, since" in refused
    assert "waypost down --data-dir" in refused

    publish(home, "1")
    wait_until(lambda: imported(home, "1"))
    result = home.json("deploy", "demo/arithmetic/double/1", "--position", TOWER, "--wait")
    assert result["states"][-1]["state"] == "IN_SERVICE"
    assert result["position"]["status"]["endpoint"]["gateway"] == ready["gateway"]

    assert home.json("infer", TOWER, "[1, 2, 3]")["outputs"] == {"y": [[2.0, 4.0, 6.0]]}
    assert "monitor" in home.waypost("logs", TOWER, "--tail", "5")
    lines = [json.loads(line) for line in home.waypost("watch", TOWER, "-o", "json", "--for", "5").splitlines()]
    assert lines[-1]["state"] == "IN_SERVICE"
    assert any(line["figures"] for line in lines)

    exported = home.directory / "fleet.yaml"
    exported.write_text(home.waypost("export"))
    assert home.waypost("diff", "-f", str(exported), "--exit-code") == ""

    home.waypost("position", "delete", TOWER, "--wait")
    assert home.json("position", "list") == []
    assert "control plane stopped" in home.down()
    assert home.processes() == {}
    assert home.down() == ""


def test_a_killed_up_leaves_everything_running_and_the_next_one_adopts_it(home: Home) -> None:
    with home.up_in_foreground() as first:
        read_until(first, "Ctrl-C stops everything")
        before = component_pids(home)
        first.kill()
    assert component_pids(home) == before

    with home.up_in_foreground() as second:
        adopted = read_until(second, "Ctrl-C stops everything")
        assert adopted.count("adopted (pid") == 3
        assert component_pids(home) == before

        os.kill(before["control-plane"], signal.SIGKILL)
        wait_until(lambda: component_pids(home).get("control-plane") not in (None, before["control-plane"]))
        wait_until(home.answers)

        second.send_signal(signal.SIGINT)
        assert "control plane stopped" in second.communicate(timeout=UP_S)[0]
        assert second.returncode == 0
    assert home.processes() == {}


def read_until(up: "subprocess.Popen[str]", text: str) -> str:
    """What it printed so far, once it has printed `text`."""
    assert up.stdout is not None
    seen = ""
    while text not in seen:
        line = up.stdout.readline()
        assert line, f"`waypost up` ended:\n{seen}"
        seen += line
    return seen


def component_pids(home: Home) -> dict[str, int]:
    """Process ids by name, of those components that run."""
    found = {}
    for name in ("training", "control-plane", "agent"):
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid = int((home.data_dir / "processes" / name / "pid").read_text())
            if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found[name] = pid
    return found
