"""Starts again what dies. All that a detached `up` leaves behind, so it imports little and wakes up rarely.

    python -m console.local.supervision DATA_DIR

What to start is what was last started: each process directory keeps its own command line. When to start it is for
mesh/restarts.py to say: at once, but not for ever.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from console.local.components import TITLES, Layout
from mesh.processes import Process
from mesh.restarts import Ends
from waypost.errors import Precondition

LOOK_S = 0.25  # a control plane that was killed is back within a second, most of which is its own start
PAUSE_MIN_S = 0.2  # so that what ends as soon as it starts does not fill its log in a moment
BOUND_LOGS_S = 60.0

Tell = Callable[[str, str], None]
"""Called with a process's name and what happened to it."""


async def keep(name: str, process: Process, tell: Tell) -> None:
    """Runs until cancelled: whenever the process has died, starts it again after a pause."""
    ends = Ends()
    while True:
        await _until_dead(process)
        ends = ends.another(asyncio.get_running_loop().time())
        pause_s = max(PAUSE_MIN_S, ends.pause_s)
        code = process.exit_code()
        how = "" if code is None else f" with code {code}"
        tell(name, f"ended{how}; starts again in {pause_s:.1f} s")
        await asyncio.sleep(pause_s)
        try:
            process.spawn(process.command())
            tell(name, "started again")
        except (OSError, Precondition) as error:  # a full disk, no processes left; or somebody was faster
            tell(name, f"cannot be started: {error}")


async def _until_dead(process: Process) -> None:
    while process.alive():  # it may be somebody else's child: nothing tells us of its end
        await asyncio.sleep(LOOK_S)
        process.end_rest()


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
    found = {name: Layout(data_dir).process(name) for name in TITLES}
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
