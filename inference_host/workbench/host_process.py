"""The host under measurement: started in a process of its own and watched from outside, or somebody else's."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from waypost.errors import Precondition

LISTENS = "gRPC and HTTP"  # what stands before the address in a host's greeting
STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class HostProcess:
    """process: None where it is none of ours; then the kernel is not asked about it."""

    address: str
    process: psutil.Process | None = None

    def cpu_s(self) -> float | None:
        """CPU time that it and its children have used."""
        if self.process is None:
            return None
        times = [each.cpu_times() for each in _family(self.process)]
        return float(sum(each.user + each.system for each in times))

    def memory_bytes(self) -> int | None:
        """Resident now."""
        if self.process is None:
            return None
        return sum(each.memory_info().rss for each in _family(self.process))


@contextmanager
def started(model: Path) -> Iterator[HostProcess]:
    """A host for this model, ready; its log goes where ours does. Raises: Precondition(NOT_STARTED)."""
    command = [sys.executable, "-m", "inference_host", "run", str(model), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = _address(process.stdout)
        if not address:
            hint = f"`waypost host test {model}` says more"
            raise Precondition("NOT_STARTED", f"the host ended with exit code {process.wait()}", hint)
        yield HostProcess(address, psutil.Process(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _address(greeting: Iterator[str]) -> str:
    """Empty where the host ended without one."""
    for line in greeting:
        before, _, address = line.strip().partition("  ")
        if before == LISTENS:
            return address.strip()
    return ""


def _family(process: psutil.Process) -> Sequence[psutil.Process]:
    return [process, *process.children(recursive=True)]
