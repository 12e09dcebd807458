"""What a load has measured, summed up. Pure.

Percentiles are nearest ranks: each is a time that some call took, and none is made up between two.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DRIVER_SHARE_MAX = 0.9  # of a core: a driver that is busier holds calls up itself
HOST_CORES_MIN, TURNS_SHARE_MIN = 0.8, 0.3  # closed loop: a host that waits while the driver works
LATE_MAX = 0.05  # of the median latency: calls sent later than this make the tail, not the host
LATE_S_MIN = 200e-6  # what a machine with nothing else to do needs to wake a process and send

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """One window of time. All times in seconds."""

    seconds: float
    due: int
    """Calls whose time to be sent lay in the window."""
    latencies_s: Sequence[float]
    """Of those that were answered well; in an open loop from when they should have been sent."""
    in_time: int
    """Of those, how many within the deadline."""
    errors: Mapping[str, int]
    """By code and reason."""
    late_s: Sequence[float]
    """Open loop: how much later than intended calls were sent while the driver was free to send them."""
    driver_cpu_s: float
    host_cpu_s: float | None
    """None: a host that runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Runs of the model by rows, while calls were measured."""

    runs: Mapping[int, int]
    rows: int

    @property
    def mean(self) -> float:
        count = sum(self.runs.values())
        return self.rows / count if count else 0.0


def percentiles(times: Sequence[float], quantiles: Sequence[float]) -> list[float]:
    """times: at least one, in any order."""
    ordered = sorted(times)
    return [ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] for quantile in quantiles]


def latency_ms(measured: Measured) -> dict[str, float]:
    """By name; nothing where no call was answered."""
    if not measured.latencies_s:
        return {}
    found = percentiles(measured.latencies_s, list(QUANTILES.values()))
    return {name: value * 1e3 for name, value in zip(QUANTILES, found, strict=True)}


def summary(measured: Measured, batches: Batches | None) -> dict[str, Any]:
    """For programs."""
    answered = len(measured.latencies_s)
    per_call = answered or 1
    cpu = measured.host_cpu_s
    return {
        "seconds": measured.seconds,
        "calls_due": measured.due,
        "calls_answered": answered,
        "calls_in_time": measured.in_time,
        "calls_per_s": answered / measured.seconds,
        "latency_ms": latency_ms(measured),
        "host_cpu_us_per_call": None if cpu is None else cpu / per_call * 1e6,
        "host_cores": None if cpu is None else cpu / measured.seconds,
        "driver_cpu_us_per_call": measured.driver_cpu_s / per_call * 1e6,
        "batch_rows_mean": None if batches is None else batches.mean,
        "batches": None if batches is None else {str(rows): runs for rows, runs in sorted(batches.runs.items())},
        "errors": dict(measured.errors),
        "driver_is_the_limit": limit_of_driver(measured),
    }


def spans(runs: Mapping[str, int]) -> dict[str, int]:
    """Runs by rows, gathered by powers of two: `1`, `2-3`, `4-7`."""
    found: dict[str, int] = {}
    for rows, count in runs.items():
        least = 1 << int(rows).bit_length() - 1
        name = str(least) if least == 1 else f"{least}-{2 * least - 1}"
        found[name] = found.get(name, 0) + count
    return found


def limit_of_driver(measured: Measured) -> str:
    """Why these figures say more of the driver than of the host; empty where they do not."""
    share = measured.driver_cpu_s / measured.seconds
    if share > DRIVER_SHARE_MAX:
        return f"the driver was busy for {share:.0%} of the time: the host can do more than this"
    cores = None if measured.host_cpu_s is None else measured.host_cpu_s / measured.seconds
    if not measured.late_s and cores is not None and cores < HOST_CORES_MIN and share > TURNS_SHARE_MIN:
        return f"driver and host took turns, busy for {share:.0%} and {cores:.0%} of the time: the host can do more"
    if measured.late_s and measured.latencies_s:
        (late_s,) = percentiles(measured.late_s, [0.99])
        (median_s,) = percentiles(measured.latencies_s, [0.5])
        if late_s > max(LATE_S_MIN, LATE_MAX * median_s):
            return f"1 % of the calls were sent {late_s * 1e3:.1f} ms late or later: the machine is short of CPU"
    return ""
