"""`python -m tests.bench`, which `make bench` calls.

Exit codes: 0 done; 1 with --check, where a goal is missed or a peer is missing; 2 where nothing could be measured.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from tests.bench import build, cells, machine, models
from tests.bench.batching import batching
from tests.bench.build import CACHE, ROOT
from tests.bench.environments import CannotInstall
from tests.bench.load import Driver
from tests.bench.mix import mixes
from tests.bench.passes import OURS, Record, alone, loads, starts
from tests.bench.report import Report
from tests.bench.second_opinion import second_opinion
from tests.bench.servers import PEERS, PEERS_DIR, PYTRITON, WITH_GOALS, Peer, Room
from tests.bench.variants import variants
from tools import wheels

PAGE = ROOT / "docs/benchmarks.md"
QUICK_PAGE = CACHE / "benchmarks.md"
EXIT_TERMINATED = 128 + signal.SIGTERM
OWN_PACKAGES = ("waypost-platform", "onnxruntime", "numpy", "grpcio", "protobuf", "orjson")


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a run takes."""

    rounds: int
    seconds: float
    """Of each turn."""
    cells: Sequence[cells.Cell]
    page: Path


FULL = Extent(3, 1.5, cells.ALL, PAGE)
QUICK = Extent(1, 1.0, [cell for cell in cells.ALL if cell.brief], QUICK_PAGE)


def main() -> int:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # so that what was started is ended
    console = Console()
    extent = QUICK if given.quick else FULL
    try:
        driver = build.driver(CACHE)
        with console.status("compiling the host (once, two minutes)"):
            OURS.install(CACHE)
    except (build.CannotBuild, wheels.CannotBuild) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    peers, absent = _install(given.peers, console)
    about = {"machine": machine.describe(), "versions": _versions(peers)}
    record = Record(tell=lambda line: console.print(line, style="dim", markup=False))
    with tempfile.TemporaryDirectory(prefix="waypost-bench-") as scratch:
        _measure(extent, peers, _room(driver, Path(scratch)), record)
    report = Report(record, absent, about)
    report.write(extent.page, CACHE)
    report.show(console)
    console.print(f"\nwritten to {extent.page.relative_to(ROOT)}")
    return _checked(report, console) if given.check else 0


def _measure(extent: Extent, peers: Sequence[Peer], room: Room, record: Record) -> None:
    if room.cores.driver is not None:
        os.sched_setaffinity(0, {room.cores.driver})  # our own work must not meet the server's
    for round_ in range(1, extent.rounds + 1):
        for peer in peers:
            record.tell(f"round {round_} of {extent.rounds}: {peer.title}")
            starts(peer, round_, room, record)
            loads(peer, round_, extent.cells, extent.seconds, room, record)
        record.tell(f"round {round_} of {extent.rounds}: ours by ourselves")
        alone(round_, extent.seconds, room, record)
        mixes(round_, 3 * extent.seconds, room, record)
        batching(round_, 2 * extent.seconds, room, record)
        variants(round_, extent.seconds, peers, room, record)
        if PYTRITON in peers:
            second_opinion(round_, room, record)


def _room(driver: Path, scratch: Path) -> Room:
    directory = CACHE / "models"
    cores = machine.Cores.of_this_process()
    samples = models.write(models.ALL, directory)
    return Room(CACHE, scratch, directory, samples, Driver(driver, scratch, cores.driver), cores)


def _install(wanted: Sequence[Peer], console: Console) -> tuple[list[Peer], dict[str, str]]:
    """Those that are there, and why the others are not."""
    there, absent = [], {}
    for peer in wanted:
        with console.status(f"installing {peer.title} (once)"):
            try:
                peer.install(CACHE)
            except (CannotInstall, build.CannotBuild) as error:
                absent[peer.title] = str(error)
                console.print(f"{peer.title} is left out: {error}", style="red", markup=False)
            else:
                there.append(peer)
    return there, absent


def _versions(peers: Sequence[Peer]) -> Mapping[str, str]:
    versions = {f"ours: {package}": version(package) for package in OWN_PACKAGES}
    for peer in peers:
        pinned = PEERS_DIR / peer.name / "requirements.txt"
        if pinned.exists():
            lines = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned.read_text(), re.MULTILINE))
            versions |= {f"{peer.title}: {name}": lines[name] for name in (*peer.packages, "onnxruntime")}
    debian = subprocess.run(["dpkg-query", "-W", "g++", "libgrpc++-dev"], capture_output=True, text=True)
    return versions | dict(line.split("\t") for line in debian.stdout.splitlines())


def _checked(report: Report, console: Console) -> int:
    for miss in report.misses:
        console.print(f"missed: {miss}", style="red", markup=False)
    return 1 if report.misses else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="The benchmark of the inference host.")
    parser.add_argument(
        "--peers", type=_peers, default=WITH_GOALS, help="names, or all; those that goals name if empty"
    )
    parser.add_argument("--quick", action="store_true", help="one round, fewer cells, under ten minutes")
    parser.add_argument("--check", action="store_true", help="fail where a goal is missed or a peer is missing")
    return parser.parse_args()


def _peers(text: str) -> Sequence[Peer]:
    known = {peer.name: peer for peer in PEERS}
    if text in ("", "all"):
        return PEERS if text else WITH_GOALS
    if unknown := set(text.split(",")) - known.keys():
        raise argparse.ArgumentTypeError(f"no such peers: {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
