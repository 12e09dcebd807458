"""What a simulation says of itself: how long until everybody had got there, and what that cost. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from mesh import text


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one duration per agent, in seconds."""

    count: int
    mean: float
    p50: float
    p99: float
    slowest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        """seconds: at least one."""
        ordered = sorted(seconds)
        p50, p99 = (nearest_rank(ordered, share) for share in (0.5, 0.99))
        return cls(len(ordered), fmean(ordered), p50, p99, ordered[-1])


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1] of them do not exceed. ordered: rising, not empty."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the control plane's process, while a stage lasted."""

    cpu_s: float
    memory_bytes: int
    """Resident, at the end."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing that was done with the fleet."""

    name: str
    agents: int
    """Of the fleet."""
    connected: int
    """At the end, as the control plane says."""
    lasted_s: float
    """Until the control plane had settled; what `usage` counts."""
    spread: Spread | None = None
    """How long each agent took; None where nobody was waited for."""
    usage: Usage | None = None
    """None where the control plane's process cannot be seen from here."""

    @property
    def cores(self) -> float | None:
        """CPU that the control plane used, as a share of one core."""
        return self.usage.cpu_s / self.lasted_s if self.usage else None


def record(stage: Stage) -> dict[str, Any]:
    """For programs, and to be read again by them: seconds, bytes, counts."""
    return asdict(stage)


def read_record(told: Mapping[str, Any]) -> Stage:
    """What `record` gave."""
    spread, usage = told["spread"], told["usage"]
    return Stage(**{**told, "spread": Spread(**spread) if spread else None, "usage": Usage(**usage) if usage else None})


HEADER = ("STAGE", "CONNECTED", "P50", "P99", "SLOWEST", "CPU PER AGENT", "CORES", "MEMORY", "MEMORY PER AGENT")


def row(stage: Stage) -> tuple[str, ...]:
    """Cells under HEADER; empty where nothing is known."""
    times = (stage.spread.p50, stage.spread.p99, stage.spread.slowest) if stage.spread else ()
    spent = ("", "", "", "")
    if stage.usage:
        spent = (
            text.duration(stage.usage.cpu_s / stage.agents),
            f"{stage.cores:.2f}",
            text.size(stage.usage.memory_bytes),
            text.size(stage.usage.memory_bytes / stage.agents),
        )
    return (
        stage.name,
        f"{stage.connected}/{stage.agents}",
        *(map(text.duration, times) if times else [""] * 3),
        *spent,
    )
