"""CPU and memory of the position's processes, read from the kernel by process id.

Memory is the proportional set size where the kernel tells it (pages shared with other processes count in part, so that
sums make sense), else the resident size. A process that is gone, or that runs where we cannot see it (in a container on
another machine), has no figures.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: float
    """CPUs in use since the last reading: 0.25 is a quarter of one."""
    memory_bytes: int


NOTHING = Usage(0.0, 0)


class Meter:
    """Remembers what each process had used when it was last read. For one thread at a time."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def read(self, pids: Mapping[str, int], *, now: float, now_s: float) -> dict[str, Usage]:
        """By the names in `pids`, and this process as `monitor`. Blocks for about a millisecond per process.

        now: Unix seconds; a first reading is the average since the process began. now_s: monotonic.
        """
        wanted = {name: pid for name, pid in pids.items() if pid > 0} | {MONITOR: os.getpid()}
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in wanted.values()}
        usage: dict[str, Usage] = {}
        for name, pid in wanted.items():
            try:
                usage[name] = self._read(pid, now, now_s)
            except psutil.Error:  # gone, or not ours to see
                self._seen.pop(pid, None)
        return usage

    def _read(self, pid: int, now: float, now_s: float) -> Usage:
        process = psutil.Process(pid)
        with process.oneshot():
            began, times = process.create_time(), process.cpu_times()
        seen = self._seen.get(pid)
        if seen is None or seen.began != began:  # new to us, or another process with an old number
            seen = _Seen(began, now_s - max(0.0, now - began), 0.0)
        used_s = times.user + times.system
        elapsed_s = max(now_s - seen.read_s, 1e-3)
        self._seen[pid] = _Seen(began, now_s, used_s)
        return Usage(max(0.0, used_s - seen.used_s) / elapsed_s, _memory_bytes(process))


@dataclass(frozen=True, slots=True)
class _Seen:
    began: float
    read_s: float
    used_s: float


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)
