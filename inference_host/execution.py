"""Where models run: fast ones on the event loop, slow ones on a few threads.

A thread costs two hand-overs, about 60 µs; a model on the loop holds up everybody else for as long as it runs. Each
graph is timed at warm-up, and requests that should take less than `INLINE_MAX_S` run where they are called.

For the others there are as many slots as threads. A call waits for a slot on the event loop, not in the pool's queue:
so it can still be cancelled or run out of time without ever running, and the queue's depth is known. A call that
runs cannot be stopped; when its caller goes, it keeps its slot to the end.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from inference_host.template import Arrays, Steps
from waypost.errors import Unavailable

INLINE_MAX_S = 300e-6  # five times the hand-overs: nobody waits long, and threads would cost a fifth more
WAITING_MAX = 1024  # calls; more would only wait for their deadlines, and hold their tensors while they do

T = TypeVar("T")


class Execution:
    """Runs the steps of models. One per host; for one event loop."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.waiting = 0
        """Calls that wait for a slot now."""
        self.running = 0
        """Calls on threads now."""
        self._slots = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")

    def close(self) -> None:
        """Returns at once; what runs goes on to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def run(self, steps: Steps, inputs: Arrays, *, inline: bool) -> Any:
        """What the model answers. Raises: Unavailable(QUEUE_FULL), and whatever the model raises."""
        if steps.on_loop:
            prepared = await self._step(steps.preprocess, inputs)
            return await self._step(steps.postprocess, await self._step(steps.predict, prepared))
        if inline:
            return steps.run(inputs)
        return await self.on_thread(steps.run, inputs)

    async def _step(self, step: Callable[[Any], Any], value: Any) -> Any:
        if inspect.iscoroutinefunction(step):
            return await step(value)
        return await self.on_thread(step, value)

    async def on_thread(self, function: Callable[[Any], T], argument: Any) -> T:
        """Runs `function(argument)` on a thread, in its turn."""
        with self._counted():
            await self._slots.acquire()
        self.running += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, function, argument)
        running.add_done_callback(self._free)
        return await asyncio.shield(running)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self.waiting >= WAITING_MAX:
            raise Unavailable("QUEUE_FULL", f"{self.waiting} calls wait already", "send less, or add replicas")
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def _free(self, running: asyncio.Future[Any]) -> None:
        self.running -= 1
        self._slots.release()
        if not running.cancelled():
            running.exception()  # the caller may be gone: then nobody else will ask for it
