"""What a host loads before it serves: memory and time of every replica on an edge server."""

import subprocess
import sys
from pathlib import Path

import pytest

IMPORTED = "import sys, inference_host.running, inference_host.uplink; print(*sys.modules)"
COMMAND = """
import contextlib, sys
from console import cli
with contextlib.suppress(SystemExit):
    cli.main(["host", *sys.argv[1:]])
print(*sys.modules)
"""
HEAVY = {"grpc", "rich", "pydantic", "onnxruntime", "psutil", "importlib.metadata"}
"""Each is needed by few hosts, or by none, or takes long enough to listen before."""


def test_a_host_imports_nothing_at_its_start_that_most_hosts_never_need() -> None:
    ran = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert not HEAVY & set(ran.stdout.split())


@pytest.mark.parametrize("asked", [["--help"], ["run", "--help"], ["bench", "--help"], ["init", "DIR"], ["iit"]])
def test_who_asks_for_help_or_a_package_waits_for_no_host(asked: list[str], tmp_path: Path) -> None:
    argv = [str(tmp_path / "new") if word == "DIR" else word for word in asked]
    ran = subprocess.run([sys.executable, "-c", COMMAND, *argv], capture_output=True, text=True, check=True)
    assert not {"inference_host.host", "numpy", "onnxruntime", "grpc"} & set(ran.stdout.splitlines()[-1].split())


def test_rich_is_there_for_templates_that_want_it() -> None:
    subprocess.run([sys.executable, "-c", "import inference_host.running, rich.console"], check=True)
