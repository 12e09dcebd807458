"""From anything to nothing: whoever is in charge first, so that nothing is started again, then everything at once.

Idempotent, and the same whether the platform is whole, half started, or has lost its `up`, its agent, or both.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from console.local.alone import holder
from console.local.components import AGENT, SUPERVISOR, TITLES, Layout
from waypost.errors import Precondition

GRACE_S = 10.0  # of one component, before it is killed
EDGE_GRACE_S = 60.0  # of everything at positions: hosts finish what is in flight
FOREGROUND_S = 90.0  # of an `up` that does all of this itself
LOOK_S = 0.1

Tell = Callable[[str], None]


async def stop_everything(layout: Layout, tell: Tell) -> bool:
    """Stops an `up` that is in charge and all that it runs; says whether anything ran. Raises: Precondition."""
    found = holder(layout)
    if found is not None and not found.detached:
        await _stop_foreground(layout, found.pid)
        tell(f"`waypost up` (pid {found.pid}) stopped, with everything that it ran")
    return await stop_processes(layout, tell) or found is not None


async def stop_processes(layout: Layout, tell: Tell) -> bool:
    """Stops every process of the platform; says whether any ran. Raises: Precondition(CANNOT_STOP)."""
    supervised = await _stop(layout, SUPERVISOR, "supervisor", tell)
    rest = [_stop(layout, name, TITLES[name], tell) for name in TITLES if name != AGENT]
    outcomes = await asyncio.gather(_stop_agent_and_edge(layout, tell), *rest, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return supervised or any(outcomes)


async def _stop_agent_and_edge(layout: Layout, tell: Tell) -> bool:
    """The agent first, or it would start everything at the edge again."""
    agent = await _stop(layout, AGENT, TITLES[AGENT], tell)
    edge = layout.edge.exists() and await _stop_edge(layout, tell)
    return agent or edge


async def _stop(layout: Layout, name: str, title: str, tell: Tell) -> bool:
    process = layout.process(name)
    if not process.alive():
        return False
    pid = process.pid()
    await process.stop(GRACE_S)
    if process.alive():
        raise Precondition(
            "CANNOT_STOP", f"the {title} (pid {pid}) does not end", f"its log is {process.directory / 'log'}"
        )
    tell(f"{title} stopped (pid {pid})")
    return True


async def _stop_edge(layout: Layout, tell: Tell) -> bool:
    """Hosts, monitors and gateway outlive the agent, which alone knows them."""
    argv = [sys.executable, "-m", "edge_agent", "stop-all", "--data-dir", str(layout.edge)]
    # In a session of its own: a second Ctrl-C must not end it half way.
    child = await asyncio.create_subprocess_exec(
        *argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(EDGE_GRACE_S):
            out, err = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise Precondition(
            "CANNOT_STOP",
            f"what runs at positions does not end within {EDGE_GRACE_S:g} s",
            f"by hand: {' '.join(argv)}",
        ) from None
    if child.returncode:
        raise Precondition("CANNOT_STOP", f"what runs at positions cannot be stopped: {err.decode().strip()}")
    lines = out.decode().splitlines()
    for line in lines:
        tell(line)
    return bool(lines)


async def _stop_foreground(layout: Layout, pid: int) -> None:
    """Asks an `up` in somebody's terminal to stop everything, as Ctrl-C there would."""
    os.kill(pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(FOREGROUND_S):
            while (found := holder(layout)) is not None and found.pid == pid:  # noqa: ASYNC110  another process's end
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        message = f"`waypost up` (pid {pid}) does not end"
        raise Precondition("CANNOT_STOP", message, f"kill -9 {pid}, then `waypost down` again") from None
