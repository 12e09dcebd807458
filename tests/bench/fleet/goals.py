"""What a fleet may cost its control plane. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from console.simulation.figures import Stage

CORES_MAX = 1.0
MEMORY_BYTES_MAX = 1.5e9
STORM_S_MAX = 60.0
GROWTH_MAX = 1.25
"""Of what one agent costs, from a quarter of the fleet to all of it. It would be 4 for a cost that is quadratic; two
runs of one size differ by a tenth. What a fleet with positions costs anyway, while something is done with it for longer
because it is larger, is no part of what that costs."""

ENROLMENT, STEADY, STORMS = "enrolment", "steady state", ("links cut", "control plane killed")

Runs = Mapping[int, Sequence[Stage]]
"""By number of agents."""


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: str
    bound: float
    measured: float | None
    """None: not measured, which is a miss too."""
    unit: str

    @property
    def met(self) -> bool:
        return self.measured is not None and self.measured <= self.bound


def judge(runs: Runs) -> list[Verdict]:
    """Of the largest fleet; what grows is compared with the smallest. runs: not empty."""
    largest = {stage.name: stage for stage in runs[max(runs)]}
    steady = largest.get(STEADY)
    memory = [stage.usage.memory_bytes for stage in largest.values() if stage.usage]
    verdicts = [
        Verdict("CPU in the steady state", CORES_MAX, steady.cores if steady else None, "cores"),
        Verdict("most resident memory", MEMORY_BYTES_MAX / 1e9, max(memory) / 1e9 if memory else None, "GB"),
    ]
    for name in STORMS:
        storm = largest.get(name)
        slowest = storm.spread.slowest if storm and storm.spread else None
        verdicts.append(Verdict(f"last agent back, {name}", STORM_S_MAX, slowest, "s"))
    verdicts.append(Verdict("agents that are not connected in the end", 0, _starved(largest.values()), "agents"))
    verdicts += [Verdict(f"growth of CPU per agent, {name}", GROWTH_MAX, growth(runs, name), "×") for name in largest]
    return verdicts


def growth(runs: Runs, name: str) -> float | None:
    """CPU per agent in a stage of the largest fleet, as a multiple of that in the smallest; None where it is alone."""
    if len(runs) == 1:
        return None
    before, after = (_cost(runs[size], name) for size in (min(runs), max(runs)))
    return after / before if before and after is not None else None


def _cost(stages: Iterable[Stage], name: str) -> float | None:
    """CPU seconds per agent of what is done in a stage, without what a fleet with positions costs anyway meanwhile."""
    by_name = {stage.name: stage for stage in stages}
    stage, steady = by_name.get(name), by_name.get(STEADY)
    if stage is None or stage.usage is None:
        return None
    cost = stage.usage.cpu_s / stage.agents
    if name in (STEADY, ENROLMENT) or steady is None or steady.usage is None:
        return cost
    away_s = stage.spread.mean if name in STORMS and stage.spread else 0.0
    return cost - (stage.lasted_s - away_s) * steady.usage.cpu_s / (steady.agents * steady.lasted_s)


def _starved(stages: Iterable[Stage]) -> float | None:
    missing = [stage.agents - stage.connected for stage in stages if stage.name in STORMS]
    return max(missing) if missing else None
