"""`stop-all`: ends everything that an agent has started in its data directory, whether or not one is running.

First the agent, or it would start everything again; then the gateway, which lets the calls under way end; then hosts
and monitors, all at once. What is written down stays: the next agent brings every position up again.
"""

import asyncio
import os
import signal
import sys

from edge_agent.drivers import open_driver
from edge_agent.drivers.base import Driver, Lineup
from edge_agent.gateways import open_gateway
from edge_agent.machine.layout import Layout, layout_of
from edge_agent.machine.lock import take_lock
from edge_agent.settings import AgentSettings
from mesh.locks import holder
from waypost.errors import Precondition

AGENT_GRACE_S = 10.0  # an agent that is told to stop has nothing to finish
GATEWAY_GRACE_S = 5.0  # for calls under way; callers who stay longer are cut off
LOOK_S = 0.05


async def stop_all(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Prints a line for each thing that was stopped. Raises: Precondition(AGENT_RUNNING | CANNOT_STOP)."""
    layout = layout_of(settings.data_dir, settings.runtime_dir)
    if not layout.data_dir.exists():
        return
    layout.create()
    await _stop_agent(layout)
    take_lock(layout.lock)
    await _stop_gateway(settings, layout)
    driver = open_driver(settings.driver, layout, log_level=settings.log_level)
    try:
        await _stop_processes(driver, settings.drain_grace_s)
    finally:
        await driver.close()


async def _stop_agent(layout: Layout) -> None:
    pid = holder(layout.lock)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(AGENT_GRACE_S):
            while holder(layout.lock) is not None:  # noqa: ASYNC110  another process's end
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise Precondition("CANNOT_STOP", f"the agent (pid {pid}) does not end", f"kill -9 {pid}") from None
    _say(f"edge agent stopped (pid {pid})")


async def _stop_gateway(settings: AgentSettings, layout: Layout) -> None:
    if not layout.gateway.exists():
        return
    gateway = open_gateway(settings, layout)
    if await gateway.stop(grace_s=GATEWAY_GRACE_S):
        _say(f"gateway stopped ({gateway.name})")


async def _stop_processes(driver: Driver, grace_s: float) -> None:
    """Hosts and monitors of all positions."""
    running = {uid: [seen.id for seen in driver.observe(uid) if seen.running] for uid in driver.positions()}
    for uid in running:
        await driver.apply(Lineup(uid, "", uid[:8]), grace_s=grace_s)
    while any(driver.observe(uid) for uid in running):  # noqa: ASYNC110  the ends of other processes
        await asyncio.sleep(LOOK_S)
    for uid, ids in running.items():
        if ids:
            _say(f"position {uid[:8]}: stopped {', '.join(ids)}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
