"""Starts again what dies. All that a detached `up` leaves behind, so it imports little and wakes up rarely.

    python -m console.local.supervision DATA_DIR

What to start is what was last started: each process directory keeps its own command line.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mesh.processes import Process

NAMES = ("training", "control-plane", "agent")
"""Directories of the processes that are kept alive, in the order of starting."""

LOOK_S = 0.25  # a control plane that was killed is back within a second, most of which is its own start
PAUSE_FIRST_S = 0.2
PAUSE_MAX_S = 15.0  # what cannot start is not tried more often than this
HEALTHY_S = 30.0  # a process that ran this long has recovered: its next death is the first one again
BOUND_LOGS_S = 60.0

Tell = Callable[[str, str], None]
"""Called with a process's name and what happened to it."""


def pause_s(deaths: int) -> float:
    """How long to wait before a start, after so many deaths in a row."""
    return min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** max(0, deaths - 1))


async def keep(name: str, process: Process, tell: Tell) -> None:
    """Runs until cancelled: whenever the process has died, starts it again after a pause."""
    loop = asyncio.get_running_loop()
    deaths = 0
    while True:
        started = loop.time()
        await _until_dead(process)
        deaths = 1 if loop.time() - started >= HEALTHY_S else deaths + 1
        code = process.exit_code()
        tell(name, f"ended{f' with code {code}' if code is not None else ''}; starts again in {pause_s(deaths):g} s")
        await asyncio.sleep(pause_s(deaths))
        try:
            process.spawn(process.command())
            tell(name, "started again")
        except OSError as error:  # a full disk, no processes left: the next pause is longer
            tell(name, f"cannot be started: {error}")


async def _until_dead(process: Process) -> None:
    while process.alive():  # noqa: ASYNC110  it may be somebody else's child: nothing tells us of its end
        await asyncio.sleep(LOOK_S)


async def _bound_logs(processes: Sequence[Process]) -> None:
    while True:
        await asyncio.sleep(BOUND_LOGS_S)
        for process in processes:
            process.bound_log()


async def keep_all(processes: dict[str, Process], tell: Tell) -> None:
    """Keeps every one of them, and their logs bounded, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, process in processes.items():
            group.create_task(keep(name, process, tell), name=f"keep-{name}")
        group.create_task(_bound_logs(list(processes.values())), name="bound-logs")


async def _supervise(data_dir: Path) -> None:
    found = {name: Process(data_dir / "processes" / name) for name in NAMES}
    processes = {name: process for name, process in found.items() if process.command()}
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await keep_all(processes, lambda name, what: print(f"{name}: {what}", flush=True))


def main(argv: Sequence[str]) -> int:
    """Supervises until SIGTERM, and then leaves everything as it is: stopping is `waypost down`'s."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_supervise(Path(argv[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
