"""The whole mesh under as many seeds as there is patience for: run.py tells a course of events, witness what must hold.

The runs are processes of their own: what they put in the doors of the outside world (doors.py) is nobody else's
business, and a seed is the same run twice only where Python's hashes are.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.run import Failed
from tests.sim.witness.laws import LAWS, Broken

ROOT = Path(__file__).parents[2]
SEEDS_IN_TURN = 150  # some forty seconds of one core; `make sim SEEDS=1000` for more


def simulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_mesh_survives_its_seeds(request: pytest.FixtureRequest) -> None:
    one = request.config.getoption("--seed")
    ran = simulate("--seed", str(one)) if one is not None else simulate("--seeds", str(SEEDS_IN_TURN), "--jobs", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_seed_takes_the_same_way_whatever_python_hashes() -> None:
    one, other = (simulate("--seed", "11", PYTHONHASHSEED=hashes) for hashes in ("1", "2"))
    assert one.stdout.count("\n") > 100
    assert one.stdout == other.stdout


def test_a_seed_that_fails_is_told_with_its_law_its_trace_and_how_to_run_it_again() -> None:
    told = str(Failed(7, Broken("quiet", "2 things happened"), ("   12.345  agent 1     drains r-100001",)))
    assert told.startswith("seed 7 breaks quiet: when all is as it should be, nothing happens\n  2 things happened\n")
    assert "drains r-100001" in told
    assert told.endswith("again, with all of it: make sim SEED=7")


def test_the_page_tells_every_law_and_every_known_bug() -> None:
    page = " ".join((ROOT / "docs" / "simulator.md").read_text().split())
    for name, sentence in LAWS.items():
        assert f"| `{name}` | {sentence} |" in page
    for bug in (ROOT / "tests" / "sim" / "bugs").glob("*.patch"):
        told = " ".join(bug.read_text().partition("\n\n")[0].split())
        assert f"| [{bug.stem}](../tests/sim/bugs/{bug.name}) | {told} |" in page
