"""A whole platform of real processes for one test module, on ports of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.ports import free_port_base
from tests.waiting import PATIENCE_S, wait_until

WAYPOST = Path(sys.executable).parent / "waypost"


class Platform:
    """`waypost up --detach` in a directory of its own, and the `waypost` command with its context."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.env = {**os.environ, "WAYPOST_CONFIG_DIR": str(directory / "config")}
        self.gateway = ""

    def up(self) -> None:
        up = self.json("up", "--detach", "--data-dir", str(self.data_dir), "--port-base", str(free_port_base()))
        self.gateway = up["gateway"]

    def down(self) -> None:
        self.run("down", "--data-dir", str(self.data_dir))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [WAYPOST, *arguments], env=self.env, capture_output=True, text=True, check=False, timeout=2 * PATIENCE_S
        )

    def json(self, *arguments: str) -> Any:
        done = self.run("--output", "json", *arguments)
        assert done.returncode == 0, f"waypost {' '.join(arguments)}\n{done.stdout}{done.stderr}\n{self.logs()}"
        return json.loads(done.stdout)

    def publish(self, onnx: Path, version: str) -> None:
        """Adds a version to the training platform that `up` runs: APP/MODEL/VERSION."""
        done = self.run("training", "publish", str(self.data_dir / "training"), version, "--onnx", str(onnx))
        assert done.returncode == 0, done.stderr

    def deploy(self, version: str, position: str, *more: str) -> Any:
        """Waits until it is in service; returns the position."""
        return self.json("deploy", f"demo/{version}", "--position", f"demo/{position}", "--wait", *more)["position"]

    def position(self, name: str) -> Any:
        return self.json("position", "get", f"demo/{name}")

    def state(self, name: str) -> str:
        return str(self.position(name)["status"]["state"])

    def ready_replicas(self, name: str) -> int:
        replicas = self.position(name)["status"].get("replicas", ())
        return sum(replica["state"].endswith("READY") for replica in replicas)

    def agent_is_connected(self) -> bool:
        """Now: the edge server's state says so for a lease longer."""
        done = self.run("-o", "json", "edge-server", "get", "edge-1")
        conditions = json.loads(done.stdout)["status"]["conditions"] if done.returncode == 0 else []
        return any(c["type"] == "AgentConnected" and c["status"].endswith("TRUE") for c in conditions)

    def token(self, application: str) -> str:
        token_id = f"t{time.monotonic_ns()}"
        return str(self.json("application", "token", "create", f"demo/{application}", token_id)["secret"])

    def processes(self, *words: str) -> list[psutil.Process]:
        """Running processes of this platform whose command line holds all the words."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.data_dir) in line and all(word in line for word in words):
                found.append(process)
        return found

    def kill(self, *words: str) -> None:
        """kill -9 of every process that matches, and proof that they are gone."""
        victims = self.processes(*words)
        assert victims, f"nothing matches {words}"
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        self.until(lambda: not any(map(_lives, victims)), f"{words} end")

    def until(self, true: Callable[[], object], what: str) -> None:
        """Waits for a state; tells what everybody logged where it does not come."""
        wait_until(true, what=what, every_s=0.05, more=lambda: self.run("status").stdout + self.logs())

    def logs(self) -> str:
        """The last lines of every process, for a failing test."""
        tails = []
        for log in sorted(self.data_dir.rglob("log")):
            lines = log.read_text(errors="replace").splitlines()[-15:]
            tails.append("\n".join([f"--- {log.relative_to(self.data_dir)}", *lines]))
        return "\n".join(tails)


def _lives(process: psutil.Process) -> bool:
    """A zombie, for which its parent has yet to wait, does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
