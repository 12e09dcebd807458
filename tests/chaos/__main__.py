"""`python -m tests.chaos`, which `make chaos` calls.

Exit codes: 0 where every cell that ran is as it must be, else 1.
"""

import argparse
import re
import signal
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from rich.console import Console

from mesh import clock
from tests.chaos import report
from tests.chaos.cells import Cell, matrix
from tests.chaos.clock import NoLibrary
from tests.chaos.disk import CannotMount
from tests.chaos.run import Verdict, other, run
from tests.chaos.world import VERSIONS, world

ROOT = Path(__file__).parents[2]
EXIT_TERMINATED = 128 + signal.SIGTERM
PAGE, ROWS = ROOT / "docs/chaos.md", ROOT / "docs/chaos/rows.jsonl"


def main() -> int:
    given, console = _arguments(), Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # so that what was started is ended
    cells = [cell for cell in matrix() if re.search(given.only, str(cell))]
    if given.list:
        console.print(*map(str, cells), sep="\n", highlight=False)
        return 0
    try:
        verdicts = _run_all(cells, console)
    except (CannotMount, NoLibrary) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    if given.update or not given.only:
        time = f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d %H:%M}"
        before = report.read(ROWS) if given.only else []
        report.write([*before, *(replace(verdict, time=time) for verdict in verdicts)], PAGE, ROWS)
    return int(any(verdict.wrong for verdict in verdicts))


def _run_all(cells: list[Cell], console: Console) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for clocks, group in groupby(sorted(cells, key=lambda cell: cell.sets_clocks), lambda cell: cell.sets_clocks):
        verdicts += _run_in_one_world(list(group), len(verdicts), len(cells), console, clocks=clocks)
    return verdicts


def _run_in_one_world(cells: list[Cell], before: int, count: int, console: Console, *, clocks: bool) -> list[Verdict]:
    """before: how many have run; count: of all."""
    verdicts = []
    serving = VERSIONS[0]
    with (
        tempfile.TemporaryDirectory(prefix="waypost-chaos-", ignore_cleanup_errors=True) as directory,
        world(Path(directory), clocks=clocks) as here,
    ):
        for number, cell in enumerate(cells, before + 1):
            serving = other(serving)
            verdict = run(here, cell, serving)
            verdicts.append(verdict)
            cost = f"{verdict.failed} of {verdict.calls} calls failed"
            off = f", {verdict.interrupted} while it was off" if verdict.interrupted else ""
            console.print(
                f"{number}/{count} {cell}: {cost}{off}; {verdict.per_s:.0f}/s, {verdict.recovered_s:.1f} s",
                style="red" if verdict.wrong else None,
                highlight=False,
            )
            if verdict.wrong:
                console.print(f"    {verdict.wrong}", style="red", markup=False)
    return verdicts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Breaks things, and counts the calls.")
    parser.add_argument("--only", default="", metavar="REGEX", help="cells to run; all of them write the page")
    parser.add_argument("--update", action="store_true", help="write those that run into the page, beside the others")
    parser.add_argument("--list", action="store_true", help="print the cells and end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
