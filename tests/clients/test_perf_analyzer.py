"""perf_analyzer drives a host as it drives Triton: it reads metadata, configuration and statistics, then calls."""

import csv
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.bench import perf_analyzer
from tests.bench.build import CACHE
from tests.bench.environments import CannotInstall
from tests.clients.conftest import Place
from tests.wire.tools import missing

RUN_S = 120.0
QUICK = ["--measurement-interval", "300", "--stability-percentage", "999", "--max-trials", "3"]
"""The figures are not what is tested: any three windows will do."""
CONCURRENCY = (1, 8, 32)
MODES = {
    "grpc sync": ["-i", "grpc", "--sync"],
    "grpc async": ["-i", "grpc", "--async"],
    "grpc streaming": ["-i", "grpc", "--async", "--streaming"],
    "http sync": ["-i", "http", "--sync"],
    "http async": ["-i", "http", "--async"],
}


@cache
def program() -> tuple[str, ...]:
    try:
        return tuple(perf_analyzer.program(CACHE))
    except CannotInstall as why:
        missing(f"perf_analyzer cannot be had: {why}")
        raise


def answers_per_s(place: Place, directory: Path, *flags: str, model: str = "") -> float:
    """What it found; that it found anything means that no call failed."""
    table = directory / "found.csv"
    argv = [*program(), "-m", model or place.affine, "-u", place.address, "-f", str(table), *QUICK, *flags]
    if place.token:
        argv += ["-H", f"authorization:Bearer {place.token}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=RUN_S, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    with table.open(newline="") as lines:
        return float(next(csv.DictReader(lines))["Inferences/Second"])


@pytest.mark.parametrize("concurrency", CONCURRENCY)
@pytest.mark.parametrize("mode", MODES)
def test_it_measures_in_every_mode(by_hand: Place, tmp_path: Path, mode: str, concurrency: int) -> None:
    assert answers_per_s(by_hand, tmp_path, *MODES[mode], "--concurrency-range", str(concurrency)) > 0


@pytest.mark.parametrize("mode", MODES)
def test_it_measures_at_a_rate(by_hand: Place, tmp_path: Path, mode: str) -> None:
    flags = ("--request-rate-range", "100", "--request-distribution", "poisson")
    assert answers_per_s(by_hand, tmp_path, *MODES[mode], *flags) > 0


@pytest.mark.parametrize("mode", MODES)
def test_it_measures_at_a_position(at_a_position: Place, tmp_path: Path, mode: str) -> None:
    assert answers_per_s(at_a_position, tmp_path, *MODES[mode], "--concurrency-range", "8") > 0


@pytest.mark.parametrize("mode", ["grpc async", "http async"])
def test_it_sends_batches_and_text(by_hand: Place, tmp_path: Path, mode: str) -> None:
    assert answers_per_s(by_hand, tmp_path, *MODES[mode], "-b", "4") > 0
    assert answers_per_s(by_hand, tmp_path, *MODES[mode], "--shape", "x:3", "--string-length", "9", model="text") > 0
