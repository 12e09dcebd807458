"""The same question to another driver: NVIDIA's perf_analyzer (perf_analyzer.py says how it gets here).

It calls Triton's ModelConfig first, so of the peers only PyTriton can be asked.
"""

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.bench import perf_analyzer
from tests.bench.environments import CannotInstall
from tests.bench.load import Target
from tests.bench.models import MLP
from tests.bench.passes import OURS, TROUBLE, Record, Turn, turns
from tests.bench.requests import Face
from tests.bench.rows import Row
from tests.bench.servers import PYTRITON, Room

KIND = "perf_analyzer"
IN_FLIGHT = 8
WINDOW_MS = 1000  # of each measurement; it repeats until three agree. Counting calls instead rounds up to whole seconds
STABLE_PERCENT = 20
WINDOWS_MAX = 10
WITHIN_S = 90.0


class NoOpinion(Exception):
    """What perf_analyzer said instead of a figure."""


def second_opinion(round_: int, room: Room, record: Record) -> None:
    """Throughput of the tiny model, ours and PyTriton's in turns."""
    try:
        program = perf_analyzer.program(room.cache)
        with OURS.start([MLP], room) as ours, PYTRITON.start([MLP], room) as theirs:
            for turn in turns(PYTRITON, round_):
                running = theirs if turn.server is PYTRITON else ours
                record.rows.append(_row(turn, program, running.targets[MLP.name, Face.GRPC], room))
    except (NoOpinion, CannotInstall, *TROUBLE) as trouble:
        record.gap(KIND, trouble)


def _row(turn: Turn, program: Sequence[str], target: Target, room: Room) -> Row:
    try:
        return turn.row(KIND, MLP.name, {"per_s": _measure(program, target, room)})
    except NoOpinion as why:
        raise NoOpinion(f"{turn.server.name}: {why}") from why


def _measure(program: Sequence[str], target: Target, room: Room) -> float:
    """Answers a second."""
    table = room.scratch / "perf_analyzer.csv"
    table.unlink(missing_ok=True)
    argv = [*program, "-m", target.model, "-u", target.address, "-i", "grpc", "-f", str(table)]
    argv += ["--concurrency-range", str(IN_FLIGHT), "--measurement-interval", str(WINDOW_MS)]
    argv += ["--stability-percentage", str(STABLE_PERCENT), "--max-trials", str(WINDOWS_MAX)]
    argv += [flag for name, value in target.headers.items() for flag in ("-H", f"{name}:{value}")]
    if room.cores.driver is not None:
        argv = ["taskset", "--cpu-list", str(room.cores.driver), *argv]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN_S)
    except subprocess.TimeoutExpired as error:
        raise NoOpinion(f"no stable figure within {WITHIN_S:.0f} s") from error
    if done.returncode or not table.exists():
        raise NoOpinion((done.stderr or done.stdout).strip()[-300:])
    return _inferences_per_s(table)


def _inferences_per_s(table: Path) -> float:
    with table.open(newline="") as lines:
        return float(next(csv.DictReader(lines))["Inferences/Second"])
