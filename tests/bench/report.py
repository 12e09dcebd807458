"""What a run found: tables on the terminal, and the pages that are committed.

benchmarks.md              tables, the figure, how to read and repeat it
benchmarks/rows.jsonl      every measurement
benchmarks/versions.json   the machine and what ran on it
benchmarks/cpu.svg         CPU per call of all servers
"""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from tests.bench import cells, environments, rows, tables
from tests.bench.figures import Figures
from tests.bench.goals import judge
from tests.bench.passes import OURS, Record
from tests.bench.servers import PEERS
from tests.bench.tables import Table

PLOTTING = Path(__file__).parent / "plotting"
PLOT_S = 120.0
FIGURE = "benchmarks/cpu.svg"

INTRODUCTION = """\
# Benchmarks

Written by `make bench`; do not edit. The inference host as an agent starts it (linked to its monitor, checking the
token and the deadline of every call, counting, logging) beside a bare C++ server, grpcio, and the servers that people
would take otherwise: same models, same requests, same driver, one core for the server and another for the driver.
Ours is installed from the wheels of `make wheels`, its hot path compiled; what it costs interpreted stands below, too.

Every answer is checked, by the driver while it measures and by stock clients before. Ours and theirs take turns (ours,
theirs, ours), and only figures that were taken in turns are compared: machines drift.

```
make bench                      all of it: about half an hour, writes this page
make bench QUICK=1              under ten minutes, writes nothing here
make bench PEERS=kserve,cpp     some of the peers; PEERS=all adds LitServe and BentoML
make bench CHECK=1              fails where a goal is missed or a peer is missing
```

It needs g++ and Python's headers (Debian's `python3-dev`), for the C++ server `libgrpc++-dev` and `protobuf-compiler`,
and for PyTriton Debian's own Python 3.11. The raw rows are in [rows.jsonl](benchmarks/rows.jsonl), versions in
[versions.json](benchmarks/versions.json).
"""


@dataclass(frozen=True, slots=True)
class Report:
    """One run, ready to be shown."""

    record: Record
    absent: Mapping[str, str]
    """Peers that were asked for and are not there, and why."""
    about: Mapping[str, Mapping[str, str]]
    """The machine, and versions."""

    @property
    def misses(self) -> list[str]:
        """Goals that were not reached, peers that are missing."""
        missed = [verdict.miss for verdict in judge(Figures(self.record.rows)) if not verdict.met]
        return [*missed, *(f"{name} is missing: {why}" for name, why in self.absent.items())]

    def show(self, console: Console) -> None:
        for table in self._tables():
            console.print(_rich(table))
            console.print(table.about, style="dim", markup=False)
        for heading, lines in self._notes().items():
            console.print(heading, style="bold")
            for line in lines:
                console.print(f"  {line}", markup=False)

    def write(self, page: Path, cache: Path) -> None:
        """Writes `page` and its directory. Raises: CannotInstall, OSError."""
        directory = page.with_suffix("")
        directory.mkdir(parents=True, exist_ok=True)
        rows.write(self.record.rows, directory / "rows.jsonl")
        (directory / "versions.json").write_text(json.dumps(self.about, indent=2) + "\n")
        self._plot(page.parent / FIGURE, cache)
        page.write_text(self._markdown())

    def _tables(self) -> list[Table]:
        figures = Figures(self.record.rows)
        return [tables.of_goals(judge(figures)), *tables.of_figures(figures)]

    def _notes(self) -> dict[str, list[str]]:
        about = [f"{name}: {value}" for part in self.about.values() for name, value in part.items()]
        absent = [f"{name}: {why}" for name, why in self.absent.items()]
        doubts = tables.doubts(Figures(self.record.rows))
        notes = {"Doubtful": doubts, "Not there": absent, "Not measured": sorted(set(self.record.gaps)), "On": about}
        return {heading: lines for heading, lines in notes.items() if lines}

    def _markdown(self) -> str:
        first, *others = self._tables()
        parts = [INTRODUCTION, _markdown(first), f"![CPU per call]({FIGURE})\n", *map(_markdown, others)]
        for heading, lines in self._notes().items():
            parts.append(f"## {heading}\n\n" + "".join(f"* {_one_line(line)}\n" for line in lines))
        return "\n".join(parts)

    def _plot(self, path: Path, cache: Path) -> None:
        python = environments.environment(cache, PLOTTING / "requirements.txt")
        argv = [str(python), str(PLOTTING / "plot.py"), str(path)]
        subprocess.run(argv, input=json.dumps(self._panels()), text=True, check=True, timeout=PLOT_S)

    def _panels(self) -> list[dict[str, object]]:
        figures = Figures(self.record.rows)
        panels: list[dict[str, object]] = []
        for cell in (cells.MLP_8, cells.MLP_JSON_8, cells.TS_8):
            found = {name: figures.load(cell, name, "cpu_us") for name in (OURS.name, *(peer.name for peer in PEERS))}
            bars: list[dict[str, object]] = [
                {"label": tables.TITLES[name].strip("*"), "median": each.median, "low": each.low, "high": each.high}
                for name, each in found.items()
                if each is not None
            ]
            panels.append({"title": str(cell), "bars": bars})
        return panels


def _rich(table: Table) -> RichTable:
    rich = RichTable(title=table.title, title_justify="left", title_style="bold")
    for column in table.columns:
        rich.add_column(
            column, justify="left" if column in ("server", "figure", "against", "what", "host") else "right"
        )
    for row in table.rows:
        rich.add_row(*(f"[bold]{cell.strip('*')}[/bold]" if cell.startswith("**") else cell for cell in row))
    return rich


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"## {table.title}\n\n{table.about}\n\n{body}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
