"""Notices when the event loop stands still, and logs where: only a coroutine of a template can do that to it.

A step that is `async def` shares the event loop with everybody: while it computes, or waits for something without
`await`, no other call is read or answered. The loop cannot notice that itself. So it leaves a mark every `TICK_S`, and
a thread looks at the mark. Both are only there while a template with coroutines is served.
"""

import asyncio
import threading
from time import monotonic

import structlog

from inference_host.model.faults import stack_of

log = structlog.get_logger()

TICK_S = 0.1
BLOCKED_S = 0.5  # longer than the loop of a busy machine stands still by itself; half the patience of a health check


async def watch() -> None:
    """Watches the running loop for ever; cancel it to end."""
    mark = _Mark()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.to_thread(mark.look), name="watchdog-thread")
        try:
            while True:
                mark.beat = monotonic()
                await asyncio.sleep(TICK_S)
        finally:
            mark.end.set()


class _Mark:
    """What the loop leaves and the thread looks at."""

    def __init__(self) -> None:
        self.beat = monotonic()
        self.end = threading.Event()
        self._loop_thread = threading.get_ident()

    def look(self) -> None:
        """On the thread. One line for each time that the loop stands still."""
        told = 0.0
        while not self.end.wait(TICK_S):
            beat = self.beat
            blocked_s = monotonic() - beat
            if blocked_s >= BLOCKED_S and beat != told:
                told = beat
                log.error("event_loop_blocked", for_ms=round(blocked_s * 1e3), stack=stack_of(self._loop_thread))
