"""The page and the raw rows of a run."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos.cells import BLOWS, BOTH, LINKS, Blow, Cell, Link, Moment, Victim, matrix
from tests.chaos.run import HELD_S, OUTAGE_S_MAX, RATE_MIN, Verdict
from tests.chaos.strike import FROZEN_S

HEAD = f"""\
# Chaos: what was broken, and what it cost

Written by `make chaos`: real processes as `waypost up` runs them, the edge server behind a proxy that makes its network
bad, callers with the SDK at {RATE_MIN:.0f} calls a second and more through the gateway. Each cell deploys another
version, breaks something before, during or after that, and waits until everybody agrees again on what was asked for.
A cell says how many calls failed of how many, and how long it took from the end of the fault until everything was as
asked for. What the link suffers lasts until what was struck is back, and for {HELD_S:.0f} s at least.

A box that is switched off can answer nobody until it is up again: its failed calls are counted apart, and may go on
for {OUTAGE_S_MAX:.0f} s at most. Else no call may fail, no answer may be wrong, no desired state may be lost.

What is frozen, full or told a wrong time is so for {FROZEN_S:.0f} s. A box's clock is that of agent, monitor and
hosts. A control plane that is restored from a backup of before the deployment must not take it back: the cell waits
until the edge server says that it keeps what it has, and then asks for the version again.

`make chaos ONLY=REGEX` runs some of the cells and writes nothing here; with `UPDATE=1` they take the place of those of
earlier runs. It needs root, for disks that can be full, and libfaketime (Debian's `faketime`) for the clocks.

"""


def read(rows: Path) -> list[Verdict]:
    """What earlier runs found."""
    return [_verdict(json.loads(line)) for line in rows.read_text().splitlines()] if rows.exists() else []


def write(verdicts: Iterable[Verdict], page: Path, rows: Path) -> None:
    """Of several verdicts on one cell the last counts."""
    newest = {verdict.cell: verdict for verdict in verdicts}
    shown = [newest[cell] for cell in matrix() if cell in newest]
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.write_text("".join(json.dumps(asdict(verdict)) + "\n" for verdict in shown))
    page.write_text(HEAD + _table(shown) + _faults(shown) + _when(shown))


def _verdict(row: dict[str, Any]) -> Verdict:
    cell = row["cell"]
    known = Cell(Victim(cell["victim"]), Blow(cell["blow"]), Link(cell["link"]), Moment(cell["moment"]))
    return Verdict(**{**row, "cell": known})


def _table(verdicts: Sequence[Verdict]) -> str:
    by_cell = {(v.cell.victim, v.cell.blow, v.cell.link, v.cell.moment): v for v in verdicts}
    lines = [
        f"| struck | how | link | {' | '.join(f'{moment} the deployment' for moment in Moment)} |",
        "|---|---|---|---|---|---|",
    ]
    for victim in Victim:
        for blow in BLOWS[victim]:
            for link in LINKS.get(victim, BOTH):
                cells = [_shown(by_cell.get((victim, blow, link, moment))) for moment in Moment]
                lines.append(f"| {victim} | {blow} | {link} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not run"
    cost = f"{verdict.failed} of {verdict.calls:,}"
    if verdict.interrupted:
        cost += f" ({verdict.interrupted} while it was off)"
    shown = f"{cost}; {verdict.recovered_s:.1f} s"
    return f"**{shown}**" if verdict.wrong else shown


def _faults(verdicts: Sequence[Verdict]) -> str:
    wrong = [f"* {verdict.cell}: {verdict.wrong}" for verdict in verdicts if verdict.wrong]
    return "\n".join(["", "## Not as it must be", "", *wrong, ""]) if wrong else "\nEvery cell is as it must be.\n"


def _when(verdicts: Sequence[Verdict]) -> str:
    times, calls = [verdict.time for verdict in verdicts], sum(verdict.calls for verdict in verdicts)
    slowest = min(verdict.per_s for verdict in verdicts)
    return (
        f"\n{len(verdicts)} cells, of runs that ended from {min(times)} to {max(times)} UTC; {calls:,} calls were "
        f"answered, in the slowest cell {slowest:.0f} a second.\n"
    )
