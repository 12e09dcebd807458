"""The machine: which cores are whose, how CPU time is counted, what it is."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
LEAVE_WITHIN_S = 2.0  # for the kernel to take killed processes out of their group


@dataclass(frozen=True, slots=True)
class Cores:
    """Which CPU the server has to itself, and which the driver. None: nothing is pinned."""

    server: int | None
    driver: int | None

    @staticmethod
    def of_this_process() -> "Cores":
        """The first two that it may use; with fewer there is nothing to separate."""
        allowed = sorted(os.sched_getaffinity(0))
        return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


@dataclass(frozen=True, slots=True)
class CpuGroup:
    """A control group that holds all processes of one server."""

    directory: Path
    usage: Path
    """File with the CPU time that they have used, to the nanosecond (v1) or microsecond (v2)."""

    @property
    def procs(self) -> Path:
        return self.directory / "cgroup.procs"

    def used_s(self) -> float:
        text = self.usage.read_text()
        if self.usage.name == "cpu.stat":
            return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6
        return int(text) / 1e9

    def pids(self) -> list[int]:
        return [int(line) for line in self.procs.read_text().split()]


@contextlib.contextmanager
def cpu_group(name: str) -> Iterator[CpuGroup | None]:
    """A new group below this process's own; None where it may not make one. Empty it before it is left."""
    group = _new_group(f"waypost-bench-{os.getpid()}-{name}")
    try:
        yield group
    finally:
        if group is not None:
            _remove(group)


def _new_group(name: str) -> CpuGroup | None:
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for controllers, usage in (("cpuacct", "cpuacct.usage"), ("cpu,cpuacct", "cpuacct.usage"), ("", "cpu.stat")):
        if controllers not in own:
            continue
        directory = CGROUPS / controllers / own[controllers].lstrip("/") / name
        with contextlib.suppress(OSError):
            directory.mkdir()
            if (directory / usage).exists():
                return CpuGroup(directory, directory / usage)
            directory.rmdir()
    return None


def _remove(group: CpuGroup) -> None:
    ends = time.monotonic() + LEAVE_WITHIN_S
    while group.pids() and time.monotonic() < ends:
        time.sleep(0.01)
    group.directory.rmdir()


def used_s(core: int | None) -> float:
    """Seconds that a core, or all of them, was not free: used by anybody here, or taken by the hypervisor."""
    times = psutil.cpu_times() if core is None else psutil.cpu_times(percpu=True)[core]
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def describe() -> Mapping[str, str]:
    """For the page: what the figures were taken on."""
    cores = Cores.of_this_process()
    return {
        "CPU": f"{_cpu_name()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "pinning": "none" if cores.server is None else f"server on core {cores.server}, driver on core {cores.driver}",
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
