"""`make bench-fleet`: measures, prints, writes docs/fleet.md, and fails where a goal is missed and --check is given."""

import argparse
import json
import os
import sys
from pathlib import Path

from console.simulation.figures import Stage, read_record, record
from mesh import logs, text
from tests.bench import machine
from tests.bench.fleet import page, runs
from tests.bench.fleet.goals import judge

PAGE = Path(__file__).parents[3] / "docs" / "fleet.md"
SHARES = (1, 4, 2)  # of the agents asked for: what grows shows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed")
    asked = parser.parse_args()
    logs.configure("bench-fleet", level="error")  # that links break is what is measured
    measured: dict[int, list[Stage]] = {}
    for share in SHARES:
        _measure(asked.agents // share, measured)
    verdicts = judge(measured)
    _say(text.table(page.GOALS_HEADER, [page.goal_row(verdict) for verdict in verdicts]))
    PAGE.write_text(page.page(measured, verdicts, about()))
    return 1 if asked.check and not all(verdict.met for verdict in verdicts) else 0


def about() -> dict[str, str]:
    """The machine, and how busy others kept it."""
    load = os.getloadavg()[2]
    described = {key: value for key, value in machine.describe().items() if key != "pinning"}  # nothing is pinned here
    return {**described, "load": f"{load:.1f} in the last quarter of an hour, this benchmark included"}


def _measure(agents: int, measured: dict[int, list[Stage]]) -> None:
    """Adds the stages of one size, and keeps each as it ends."""
    _say(f"\n{agents} agents")
    stages = measured[agents] = []

    def report(stage: Stage) -> None:
        stages.append(stage)
        _write_rows(measured, PAGE.with_suffix("") / "rows.jsonl")
        _say(f"  {stage.name}: {stage.connected} connected after {text.duration(stage.lasted_s)}")

    runs.run(agents, report)
    _say(text.table(page.STAGES_HEADER, [page.stage_row(stage) for stage in stages]))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _write_rows(measured: dict[int, list[Stage]], file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    lines = (json.dumps(record(stage)) for _, stages in sorted(measured.items()) for stage in stages)
    file.write_text("".join(f"{line}\n" for line in lines))


def read_rows(file: Path) -> dict[int, list[Stage]]:
    """What a run has written, by number of agents."""
    measured: dict[int, list[Stage]] = {}
    for line in file.read_text().splitlines():
        stage = read_record(json.loads(line))
        measured.setdefault(stage.agents, []).append(stage)
    return measured


if __name__ == "__main__":
    sys.exit(main())
