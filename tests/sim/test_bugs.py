"""The simulator finds what it is there for: each of bugs/*.patch is a mistake that somebody could make in our code.

Each patch begins with a sentence that says what is wrong with it, and the laws that it must break. It is applied to a
copy, never to this tree. `make test-sim-bugs`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.witness.laws import LAWS

ROOT = Path(__file__).parents[2]
BUGS = sorted((ROOT / "tests" / "sim" / "bugs").glob("*.patch"))
PACKAGES = ("mesh", "control_plane", "edge_agent", "position_monitor", "tests/sim")
SEEDS = 150  # in which a bug must be found; most take fewer than ten
PATIENCE_S = 300


def laws_of(bug: Path) -> list[str]:
    """One of which it must break."""
    told = re.search(r"^Must break: (.+)$", bug.read_text(), re.MULTILINE)
    assert told, f"{bug.name} does not say which law it breaks"
    return told[1].split()


def patched_copy(bug: Path, directory: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / "tests" / "__init__.py").touch()
    applied = run(["git", "apply", str(bug)], directory)
    if applied.returncode:
        pytest.fail(f"{bug.name} does not apply to our code any more, write it anew:\n{applied.stderr}", pytrace=False)
    return directory


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(directory.parent)}  # inside a repository git skips files
    return subprocess.run(
        command, cwd=directory, env=outside, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.stem)
def test_a_known_bug_is_found(bug: Path, tmp_path: Path) -> None:
    copy = patched_copy(bug, tmp_path)
    ran = run([sys.executable, "-m", "tests.sim", "--seeds", str(SEEDS), "--until-broken"], copy)
    broken = re.search(r"^seed \d+ breaks ([a-z-]+)", ran.stdout, re.MULTILINE)
    assert broken, f"not found in {SEEDS} seeds: {ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    assert broken[1] in laws_of(bug), ran.stdout


def test_there_are_ten_of_them_and_they_break_laws_that_there_are() -> None:
    assert len(BUGS) >= 10
    assert {law for bug in BUGS for law in laws_of(bug)} <= LAWS.keys()
