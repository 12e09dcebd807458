"""docs/fleet.md, of what was measured. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from console.simulation.figures import HEADER, Stage, row
from tests.bench.fleet.goals import MEMORY_BYTES_MAX, STEADY, STORMS, Runs, Verdict

INTRODUCTION = """\
# Fleet scale

Written by `make bench-fleet`; do not edit. One control plane in one process, SQLite, TLS on both ports, and simulated
edge servers with one position each: real keys, real certificates, a real link each over mutual TLS, a heartbeat and
metrics every ten seconds. The agents share the machine with the control plane. CPU is what the kernel counted for the
control plane's process; seconds are the wall's, of a machine that others may use at the same time.

```
make bench-fleet AGENTS=5000            a quarter, half and all of so many agents; prints the tables, writes this page
make bench-fleet AGENTS=5000 CHECK=1    fails where a goal is missed
```

The rows are in [rows.jsonl](fleet/rows.jsonl). `waypost simulate` does the same to a platform of yours:

```sh
waypost simulate --agents 500 --deploy uav/path-prediction/lstm/3 --then uav/path-prediction/lstm/4 --fail-rate 0.02
```
"""

WALLS = """\
## How far it goes, and the next wall

Beyond the sizes above nothing was measured. If each cost grew in proportion from there on, one control plane would come
to an end at about:

{limits}

**One process ends at the reconnect.** A handshake and the session that follows it take milliseconds of one core, and a
second core helps little: Python runs one thread at a time, and only TLS runs beside it. Agents whose Hello was heard
wait for their turn; those who do not get that far within ten seconds try again, at most half a minute later. So a fleet
that is too large comes back late and not never.

**Several control planes** ([how](operations/several-control-planes.md)) share the agents, and with them all that is
measured here: handshakes, sessions, heartbeats, the memory of connections. That is reasoned, not measured: so many
control planes, so many times the agents. What they do not share is small, and each has all of it:

* Each plans for all. A plan takes 11 µs of CPU per position when hardly any has changed: 53 ms for 5,000, 255 ms for
  20,000 (measured alone, linear). While changes pour in, a control plane plans a tenth of the time.
* Each reads what the others write, a row for each agent in ten seconds: 10 µs to read, 15 µs to write (measured alone).
* The database takes one transaction a second for figures from each, and one for each change that people make.

So **the next wall is the plan**: at some 50,000 positions it holds up a process for more than half a second each time,
and has to be cut into pieces that are planned apart, by edge server. **People's calls** come before that where they are
made one position at a time: each costs what a deployment above costs an agent, and twelve
milliseconds with 1,250 agents on a less busy machine, eighty a second.

**The agents' own half** of each handshake and each session is done by the same two cores. The growth of a cost leaves
out what a fleet costs anyway: a stage that lasts longer holds more heartbeats and metrics of those who are connected.

What an operator has to see to: each connection is an open file. The control plane takes as many as its hard limit
allows (`LimitNOFILE=` of a service, `ulimit -Hn`). A join token lets in a thousand agents at most.
"""


def page(runs: Runs, verdicts: Sequence[Verdict], about: Mapping[str, str]) -> str:
    """about: the machine, and versions."""
    parts = [INTRODUCTION, "## Goals\n", markdown(GOALS_HEADER, map(goal_row, verdicts))]
    for size, stages in sorted(runs.items(), reverse=True):
        parts += [f"\n## {size:,} agents\n", markdown(STAGES_HEADER, map(stage_row, stages))]
    parts += [
        "",
        WALLS.format(limits=limits(runs)),
        "## On\n",
        "\n".join(f"* {key}: {value}" for key, value in about.items()),
    ]
    return "\n".join(parts) + "\n"


GOALS_HEADER = ("goal", "at most", "measured", "met")
STAGES_HEADER = tuple(cell.lower() for cell in HEADER)


def limits(runs: Runs) -> str:
    """Where one control plane would reach each bound, reasoned from the largest fleet."""
    agents = max(runs)
    stages = {stage.name: stage for stage in runs[agents]}
    rows = [
        ("the whole of one core, nothing happening", _until(agents, stages.get(STEADY), 1.0)),
        ("a minute of one core, all agents reconnecting", _until(agents, stages.get(STORMS[-1]), 60.0, of_all=True)),
        ("1.5 GB", _until_memory(agents, stages.values())),
    ]
    return markdown(("what is used up", "agents"), rows)


def _until(agents: int, stage: Stage | None, bound: float, *, of_all: bool = False) -> str:
    """bound: CPU seconds, in one second or altogether."""
    if stage is None or stage.usage is None or stage.cores is None:
        return "–"
    used = stage.usage.cpu_s if of_all else stage.cores
    return f"{round(agents * bound / used, -3):,.0f}"


def _until_memory(agents: int, stages: Iterable[Stage]) -> str:
    most = max((stage.usage.memory_bytes for stage in stages if stage.usage), default=0)
    return f"{round(agents * MEMORY_BYTES_MAX / most, -3):,.0f}" if most else "–"


def goal_row(verdict: Verdict) -> tuple[str, ...]:
    measured = "not measured" if verdict.measured is None else f"{verdict.measured:.3g} {verdict.unit}"
    return verdict.goal, f"{verdict.bound:g} {verdict.unit}", measured, "yes" if verdict.met else "**no**"


def stage_row(stage: Stage) -> tuple[str, ...]:
    return tuple(cell or "–" for cell in row(stage))


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
