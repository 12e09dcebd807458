"""What a host loads before it serves: memory and time of every replica on an edge server."""

import subprocess
import sys

IMPORTED = "import sys, inference_host.app, inference_host.host, inference_host.uplink; print(*sys.modules)"
HEAVY = {"grpc", "rich", "pydantic", "onnxruntime", "psutil", "importlib.metadata"}
"""Each is needed by few hosts, or by none, or takes long enough to listen before."""


def test_a_host_imports_nothing_at_its_start_that_most_hosts_never_need() -> None:
    ran = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert not HEAVY & set(ran.stdout.split())


def test_rich_is_there_for_templates_that_want_it() -> None:
    subprocess.run([sys.executable, "-c", "import inference_host.app, rich.console"], check=True)
