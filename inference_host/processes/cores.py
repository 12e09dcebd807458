"""How many CPUs this process may really use.

A container sees all CPUs of its machine and is throttled to its quota: threads beyond the quota only make the
throttling come in bursts. So the quota counts (cgroup v2 `cpu.max`, or v1 `cpu.cfs_quota_us`), and the affinity mask.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def cores(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Whole CPUs, at least 1; a quota of 1.5 counts as 2."""
    available = len(os.sched_getaffinity(0))
    quota = min(_quotas(cgroups, membership), default=math.inf)
    return max(1, min(available, math.ceil(quota) if quota != math.inf else available))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """CPUs allowed by each level of the hierarchy above this process that sets a limit."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        group = Path(path.lstrip("/"))
        for level in (group, *group.parents):
            if controllers == "":
                yield from _quota_v2(cgroups / level / "cpu.max")
            elif "cpu" in controllers.split(","):
                yield from _quota_v1(cgroups / "cpu" / level)


def _quota_v2(file: Path) -> Iterator[float]:
    try:
        quota, period = file.read_text().split()
    except (OSError, ValueError):
        return
    if quota != "max":
        yield int(quota) / int(period)


def _quota_v1(directory: Path) -> Iterator[float]:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return
    if quota > 0:
        yield quota / period
