"""CPU and memory limits of processes, by control groups where this machine lets us make them.

A process joins its groups itself, between fork and exec, so that it never runs outside them. Limits by rlimit would be
no substitute: RLIMIT_AS counts address space, of which onnxruntime reserves far more than it ever uses.

    version 1    a group below our own, in the hierarchies `cpu` and `memory`
    version 2    a group beside our own: below it there may be none while we ourselves are inside
"""

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.drivers.base import Limits

PERIOD_US = 100_000  # the kernel's default accounting period


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where groups may be made: the parent directory for each controller."""

    parents: Mapping[str, Path]
    unified: bool

    def prepare(self, name: str, limits: Limits) -> list[Path]:
        """Makes the group `name` with these limits; returns the files to join it by. Raises: OSError."""
        groups: dict[str, Path] = {}
        for controller, parent in self.parents.items():
            groups[controller] = parent / name
            groups[controller].mkdir(exist_ok=True)
        for controller, file, value in self._values(limits):
            (groups[controller] / file).write_text(value)
        return sorted({group / "cgroup.procs" for group in groups.values()})

    def sweep(self, prefix: str, keep: Collection[str]) -> None:
        """Removes groups called `prefix...` but for those to keep. One that still has processes stays until later."""
        for parent in self.parents.values():
            for group in parent.glob(f"{prefix}*/"):
                if group.name not in keep:
                    with contextlib.suppress(OSError):
                        group.rmdir()

    def _values(self, limits: Limits) -> list[tuple[str, str, str]]:
        quota_us = limits.cpu_millis * PERIOD_US // 1000
        if self.unified:
            cpu = f"{quota_us or 'max'} {PERIOD_US}"
            return [("cpu", "cpu.max", cpu), ("memory", "memory.max", str(limits.memory_bytes or "max"))]
        return [
            ("cpu", "cpu.cfs_period_us", str(PERIOD_US)),
            ("cpu", "cpu.cfs_quota_us", str(quota_us or -1)),
            ("memory", "memory.limit_in_bytes", str(limits.memory_bytes or -1)),
        ]


def find(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Cgroups | None:
    """Where this process may make groups; None where it may not."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    by_controller = {name: path for _, names, path in lines for name in names.split(",")}
    return _version_1(root, by_controller) or _version_2(root, by_controller)


def _version_1(root: Path, own: Mapping[str, str]) -> Cgroups | None:
    if not {"cpu", "memory"} <= own.keys():
        return None
    parents = {controller: root / controller / own[controller].lstrip("/") for controller in ("cpu", "memory")}
    return Cgroups(parents, unified=False) if all(map(_writable, parents.values())) else None


def _version_2(root: Path, own: Mapping[str, str]) -> Cgroups | None:
    parent = (root / own.get("", "/").lstrip("/")).parent
    try:
        delegated = set((parent / "cgroup.subtree_control").read_text().split())
    except OSError:
        return None
    if not {"cpu", "memory"} <= delegated or not _writable(parent):
        return None
    return Cgroups({"cpu": parent, "memory": parent}, unified=True)


def _writable(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK)
