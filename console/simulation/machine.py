"""What the control plane's process costs, and how many connections this process may have."""

import resource
from dataclasses import dataclass

import psutil

from console.simulation.figures import Usage
from waypost.errors import Exhausted, NotFound

FILES_BESIDES = 256  # logs, the API, certificates while they are read


def allow_connections(count: int) -> None:
    """Raises this process's own limit of open files as far as is needed. Raises: Exhausted(TOO_FEW_FILES)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + FILES_BESIDES
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Exhausted(
            "TOO_FEW_FILES",
            f"{count} connections need {needed} open files, and this process may have {hard}",
            f"raise the hard limit (`ulimit -Hn {needed}`, or LimitNOFILE= of the service), or simulate fewer agents",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@dataclass(frozen=True, slots=True)
class Reading:
    """As the kernel counts, since the process began."""

    cpu_s: float
    memory_bytes: int


class Meter:
    """Reads the kernel's counters of one process of this machine."""

    def __init__(self, pid: int) -> None:
        """Raises: NotFound(NO_PROCESS)."""
        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise _gone(pid) from error

    def read(self) -> Reading:
        """CPU time since the process began, user and system, and its resident memory. Raises: NotFound(NO_PROCESS)."""
        try:
            times, memory = self._process.cpu_times(), self._process.memory_info()
        except psutil.NoSuchProcess as error:
            raise _gone(self._process.pid) from error
        return Reading(times.user + times.system, memory.rss)

    def since(self, before: Reading) -> Usage:
        now = self.read()
        return Usage(now.cpu_s - before.cpu_s, now.memory_bytes)


def _gone(pid: int) -> NotFound:
    return NotFound("NO_PROCESS", f"there is no process {pid} on this machine", "is it that of the control plane?")
