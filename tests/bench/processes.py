"""The processes of one server: started together, counted together, ended together."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from mesh.nursery import PYTHON, Nursery
from mesh.processes import Process
from tests.bench.machine import CpuGroup, cpu_group

END_S = 10.0  # after SIGTERM; then they are killed
HOST, HOST_PRELOAD = ("inference_host",), ("inference_host.preload",)
"""Of what an agent's nursery has, the hosts' part: the other is the monitors', which are not measured here."""
LOOK_S = 0.01  # at a process that shall end by itself
_JOIN = 'echo $$ > "$0" && exec "$@"'

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Libraries that size their pools by the machine would spin beside the model on the one core that a server has."""

UNTOLD = {"ORT_DISABLE_TELEMETRY": "1"}
"""onnxruntime would tell its makers of every run; ours never does, and the others shall not be slower for it."""


class Processes:
    """Made by `processes`; everything in it is gone when that is left."""

    def __init__(self, directory: Path, core: int | None, group: CpuGroup | None) -> None:
        self.directory = directory
        """For settings, sockets and logs."""
        self._core = core
        self._group = group
        self._started: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []
        self._nursery: Nursery | None = None
        self._forked: list[Process] = []

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Starts one on the server's core; its output goes to `<name>.log`."""
        command = list(argv)
        if self._core is not None:
            command = ["taskset", "--cpu-list", str(self._core), *command]
        if self._group is not None:
            command = ["/bin/sh", "-c", _JOIN, str(self._group.procs), *command]
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=_environment(env or {}),
                process_group=0,  # all in one session, as an agent's hosts are: see inference_host/serving/turns.py
            )
        self._started.append(process)
        self._logs.append(log)

    def open_nursery(self, env: Mapping[str, str]) -> None:
        """Has one on the server's core that has imported what hosts need, as an agent has had one for long."""
        self._nursery = Nursery(str(self.directory), HOST, HOST_PRELOAD, _environment(env))
        self._nursery.warm_up()
        assert self._nursery.pid is not None
        if self._group is not None:
            self._group.procs.write_text(str(self._nursery.pid))
        if self._core is not None:
            os.sched_setaffinity(self._nursery.pid, {self._core})
        first = self.fork("nursery", [*PYTHON, *HOST, "--help"])
        while first.alive():
            time.sleep(LOOK_S)
        self._forked.remove(first)

    def fork(self, name: str, argv: Sequence[str]) -> Process:
        """Starts one that the nursery can; its output goes to `log` in its own directory."""
        process = Process(self.directory / f"{name}-process")
        process.spawn(argv, nursery=self._nursery)
        self._forked.append(process)
        return process

    @property
    def cpu_flags(self) -> list[str]:
        """How the driver is told to count their CPU time."""
        if self._group is not None:
            return ["--cpu-file", str(self._group.usage)]
        return [flag for pid in self.pids() for flag in ("--cpu-pid", str(pid))]

    def cpu_s(self) -> float:
        """CPU time of all that run."""
        if self._group is not None:
            return self._group.used_s()
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self.pids())

    def pids(self) -> list[int]:
        if self._group is not None:
            return self._group.pids()
        return [process.pid for root in self._roots() for process in _with_descendants(root)]

    def memory_bytes(self) -> int:
        """Resident memory of all of them, with what they share among themselves counted once.

        Not PSS: that splits libraries with strangers too, so it falls when somebody else happens to run the same ones.
        """
        private, shared = 0, Counter[str]()
        for pid in self.pids():
            with contextlib.suppress(psutil.NoSuchProcess):
                for mapped in psutil.Process(pid).memory_maps(grouped=True):
                    private += mapped.private_clean + mapped.private_dirty
                    here = mapped.shared_clean + mapped.shared_dirty
                    shared[mapped.path] = max(shared[mapped.path], here)
        return private + shared.total()

    def died(self) -> str:
        """The end of the log of one that has ended; empty while all run."""
        for process, log in zip(self._started, self._logs, strict=True):
            if process.poll() is not None:
                return f"exit code {process.returncode}: ...{log.read_text(errors='replace')[-600:]}"
        for forked in self._forked:
            if not forked.alive():
                return f"exit code {forked.exit_code()}: ...{forked.tail(10)[-600:]}"
        return ""

    def end(self) -> None:
        left = [process for root in self._roots() for process in _with_descendants(root)]
        for process in self._forked:
            process.signal(signal.SIGTERM)
        if self._nursery is not None:
            self._nursery.close()
        for root in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(root.pid, signal.SIGTERM)
        psutil.wait_procs(left, END_S)
        for pid in {*self.pids(), *(process.pid for process in left if process.is_running())}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for root in self._started:
            root.wait()

    def _roots(self) -> list[int]:
        """Those that they all descend from."""
        roots = [process.pid for process in self._started]
        return roots if self._nursery is None or self._nursery.pid is None else [*roots, self._nursery.pid]


@contextlib.contextmanager
def processes(name: str, directory: Path, core: int | None) -> Iterator[Processes]:
    """Room for the processes of a server called `name`, which may use `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    with cpu_group(name) as group:
        room = Processes(directory, core, group)
        try:
            yield room
        finally:
            room.end()


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, **UNTOLD, **env}


def _with_descendants(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
