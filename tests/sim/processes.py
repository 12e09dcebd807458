"""Many processes in one event loop, on virtual time: each may be killed, stopped or slow, and the others go on.

Everything asynchronous that a process does runs in a context that names it, as asyncio hands contexts on from whoever
creates a task or a timer. So the loop knows whose turn every callback is, and can do what an operating system does:

* `kill`: none of its callbacks ever runs again. No `finally`, no `except`, no goodbye: what kill -9 leaves;
* `pause`: its callbacks wait, and the clock does not. SIGSTOP, or a machine that swaps;
* the order in which processes that are ready at the same moment get their turn is drawn by the seed. Within one
  process it is first come, first served, as asyncio promises.

Time passes only while everybody waits. There are no threads (what is given to one runs at once) and no sockets.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

TURNS_MAX = 200_000  # without time passing: what takes more goes round in circles

_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)


class Killed(BaseException):
    """Ends what a process was doing when it was killed in the middle of it."""


class Stuck(Exception):
    """Time goes on no more."""


class Process:
    """What is killed as one. on_end: called when it is killed."""

    def __init__(self, loop: "ProcessLoop", name: str, wall_skew_s: Callable[[], float] = lambda: 0.0) -> None:
        self.name = name
        self.alive = True
        self.wall_skew_s = wall_skew_s
        self.on_end: list[Callable[[], None]] = []
        self.writes_left: int | None = None
        """Killed at the write after so many; None: not by writing."""
        self._loop = loop
        self._paused = False
        self._held: list[asyncio.Handle] = []
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)

    @property
    def runs(self) -> bool:
        return self.alive and not self._paused

    def spawn(self, life: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """A task of this process, which must be alive."""
        return self._loop.create_task(life, name=f"{self.name}/{name}", context=self._context)

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            for each in self.on_end:
                each()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self.alive:
            self.release()

    def hold(self, handle: asyncio.Handle) -> None:
        self._held.append(handle)

    def release(self) -> None:
        self._loop.make_ready(self._held)
        self._held = []


def current() -> Process | None:
    """Whose turn it is; None: the world's."""
    return _PROCESS.get()


def writing() -> None:
    """To be called before each write: here a process may be killed. Raises: Killed."""
    process = _PROCESS.get()
    if process is None or process._loop.over:
        return
    if process.writes_left is not None:
        process.writes_left -= 1
        if process.writes_left < 0:
            process.kill()
    if not process.alive:
        raise Killed(process.name)


class _Task(asyncio.Task[Any]):
    """Hashed by its number: a set of tasks is walked in the same order in every run."""

    _numbers = count()

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*arguments, **keywords)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class ProcessLoop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        _Task._numbers = count()
        self.now_s = 0.0
        self.over = False
        """The run has ended: everybody, the dead included, may clean up."""
        self._rng = rng
        self._turns = 0
        self._processes: list[Process] = []
        self.set_task_factory(lambda loop, coro, **keywords: _Task(coro, loop=loop, **keywords))
        self.set_exception_handler(self._hear)
        self.faults: list[str] = []
        """What callbacks and forgotten tasks ended in."""

    def process(self, name: str, wall_skew_s: Callable[[], float] = lambda: 0.0) -> Process:
        made = Process(self, name, wall_skew_s)
        self._processes.append(made)
        return made

    def time(self) -> float:
        return self.now_s

    def make_ready(self, handles: list[asyncio.Handle]) -> None:
        self._ready.extend(handles)

    def finish(self) -> None:
        """From now on nothing counts; the dead get their turns too, so that everything can be taken down."""
        self.over = True
        for process in self._processes:
            process.alive = True
            process.resume()

    def run_in_executor(self, executor: Executor | None, function: Callable[..., T], *arguments: Any) -> Any:
        """At once: on virtual time there is nobody to wait for a thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    # -- what asyncio leaves to a subclass

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def _run_once(self) -> None:
        self._take_due()
        for handle in self._in_turn():
            if handle._cancelled:
                continue
            process = handle._context.get(_PROCESS)
            if process is not None and not process.runs:
                process.hold(handle)
            else:
                handle._run()

    def _take_due(self) -> None:
        """Moves what is due to what is ready; where nobody is ready, time jumps."""
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
            self._timer_cancelled_count -= 1
        self._turns += 1
        if not self._ready:
            if not timers:
                raise Stuck(f"deadlock at {self.now_s} s: everybody waits and no timer is set")
            if timers[0]._when > self.now_s:
                self.now_s, self._turns = timers[0]._when, 0
        if self._turns > TURNS_MAX:
            raise Stuck(f"livelock at {self.now_s} s: no time passes")
        while timers and timers[0]._when <= self.now_s:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(timer)

    def _in_turn(self) -> list[asyncio.Handle]:
        """What is ready: one process after the other, in an order that is drawn."""
        ready, self._ready = self._ready, deque()
        turns: dict[Process | None, list[asyncio.Handle]] = {}
        for handle in ready:
            turns.setdefault(handle._context.get(_PROCESS), []).append(handle)
        if len(turns) < 2:
            return list(ready)
        order = list(turns)
        self._rng.shuffle(order)
        return [handle for process in order for handle in turns[process]]

    def _hear(self, loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        error = what.get("exception")
        if not self.over and not isinstance(error, Killed):
            self.faults.append(f"{what['message']}: {error!r}")


def world_context() -> Context:
    """For timers that belong to nobody who can be killed: the network's, a machine's."""
    context = copy_context()
    context.run(_PROCESS.set, None)
    return context
