"""The README's five-minute tour, run as a person would type it, on ports of its own and in a directory of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.ports import free_port_base

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def tour() -> str:
    """One script of all blocks between `## Five minutes` and the next section."""
    section = (ROOT / "README.md").read_text().split("## Five minutes")[1].split("\n## ")[0]
    blocks = [text if kind == "sh" else f"python - <<'END'\n{text}END\n" for kind, text in BLOCK.findall(section)]
    assert len(blocks) >= 6
    return "\n".join(blocks)


def adapted(script: str, base: int) -> str:
    """For this machine and this test: other ports, and an end for what follows for ever."""
    return (
        script.replace("source .venv/bin/activate\n", "")
        .replace("waypost up --detach", f"waypost up --detach --port-base {base}")
        .replace("127.0.0.1:7680", f"127.0.0.1:{base + 80}")
        .replace("waypost watch demo/water/tank-1", "{ timeout 3 waypost watch demo/water/tank-1 || [ $? -eq 124 ]; }")
    )


def test_the_five_minute_tour_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    given = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    env = {**given, "PATH": path, "WAYPOST_CONFIG_DIR": str(tmp_path / "config")}
    script = "set -euo pipefail; trap 'waypost down' EXIT\n" + adapted(tour(), free_port_base())
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("IN_SERVICE") == 2, done.stderr
    assert '"history"' in done.stdout  # what curl was told of the model
