"""docs/serving.md, section by section, as a person would type it: what it shows of a template is what `init` writes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.ports import free_port

PAGE = (ROOT / "docs/serving.md").read_text()
BLOCK = re.compile(r"^```(sh|python|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
WITH_COMMANDS = [title for title, text in SECTIONS.items() if "```sh" in text]
SERVE = """
serve() {
  rm -f greeting
  "$@" --listen 127.0.0.1:$PORT >greeting 2>log &
  until grep -qs '^try it' greeting; do kill -0 $! || { cat log; exit 1; }; sleep 0.05; done
}
"""


def blocks(title: str, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(SECTIONS[title]) if found == kind]


def is_template(block: str) -> bool:
    return "\nclass " in block


def script(title: str) -> str:
    """All blocks of a section, but what a package holds; a host that would serve for ever does so in the background."""
    lines = []
    for kind, text in BLOCK.findall(SECTIONS[title]):
        if kind == "sh":
            lines.append(re.sub(r"^waypost host run", "serve waypost host run", text, flags=re.MULTILINE))
        elif kind == "python" and not is_template(text):
            lines.append(f"python - <<'END'\n{text}END\n")
    return "".join(lines)


def rounded(text: str) -> str:
    """Without the last digits of floats, which differ from processor to processor."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.3f}", text)


@pytest.mark.parametrize("title", WITH_COMMANDS)
def test_a_section_works_as_written(title: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    port = free_port()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PORT": str(port)}
    text = script(title).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{SERVE}{text}"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for answer in blocks(title, "json"):
        assert rounded(answer.strip()) in rounded(done.stdout)
    for template in filter(is_template, blocks(title, "python")):
        assert template in [path.read_text() for path in tmp_path.glob("*/template.py")]


def test_the_sections_are_those_that_were_asked_for() -> None:
    assert {"A plain function", "An ONNX model", "scikit-learn"} <= set(WITH_COMMANDS)
    assert shutil.which("curl")
