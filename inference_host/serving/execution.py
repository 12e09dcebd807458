"""Where models run: fast ones on the event loop, slow ones on a few threads, asynchronous ones in tasks.

A thread costs two hand-overs, about 60 µs; a model on the loop holds up everybody else for as long as it runs. Each
graph is timed at load, and calls that should take less than `INLINE_MAX_S` run on the loop.

Work is pulled, not pushed. A `Source` (a lane) says that it has some; when there is room it is asked for its next run,
and told when that is over. So what waits stays in the lane's queue to the last moment, where it can still be joined by
others, passed by a more urgent call, withdrawn or expire; and nobody starves:

    OnLoop      one turn of the loop runs what there is for `INLINE_MAX_S`, at least one run, and lets the loop breathe
    OnThreads   sources stand in line for threads; who got one goes to the end
    InTasks     a task for each run

A run on a thread cannot be stopped. When its callers go it keeps its thread to the end; one that has not ended
`LINGER_S` later hangs, and is given up: another thread takes its place, so that the others go on. There are
`HUNG_MAX` such threads to give; a host that has given them all says that it is not ready, and is started again by
whoever looks after it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import structlog

from inference_host.model.faults import stack_of
from inference_host.serving import turns
from inference_host.serving.threads import ModelThread

log = structlog.get_logger()

INLINE_MAX_S = 300e-6  # five times the hand-overs: nobody waits long, and threads would cost a fifth more
TASKS_MAX = 256  # of one asynchronous template: each may hold a connection to something

LINGER_S = 1.0  # a run that nobody waits for is mostly over by then, and others wait for its thread
HUNG_MAX = 4  # threads given up at a time: each keeps what its call holds in memory, and a CPU where it spins

T = TypeVar("T")
W = TypeVar("W", bound="Work")


class Work(Protocol):
    """One run of a model. Neither method raises; one of them is called, once."""

    @property
    def title(self) -> Mapping[str, str]:
        """What it is, as fields of a log line."""

    def perform(self) -> None:
        """Blocks. On the loop or on a thread."""

    async def perform_on_loop(self, threads: "Execution") -> None:
        """For models that are coroutines."""


class Source(Protocol[W]):
    """Has work. Everything is called in the event loop."""

    def next(self) -> W | None:
        """The next run, from now on under way; None where there is none at present."""

    def finish(self, work: W) -> None:
        """`work` has been performed, or was given up."""

    def settle(self) -> None:
        """The works that were finished at this time have all been told."""


class Runner(Protocol):
    """A way to run what a source has."""

    outlasts: bool
    """Whether runs go on while the event loop does other things."""

    def wake(self) -> None:
        """The source may have work."""

    def abandon(self, work: Work) -> None:
        """Nobody waits for what is under way any more. It is finished all the same, sooner if that is possible."""


class OnLoop:
    """Runs where everything else runs. For models that take no longer than a hand-over to a thread is worth."""

    outlasts = False

    def __init__(self, source: Source[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop
        self._woken = False

    def wake(self) -> None:
        """Not at once: whatever has arrived by then goes together with it.

        A timer that is long due, since the loop calls timers behind what it has read, and `call_soon` before.
        """
        if not self._woken:
            self._woken = True
            self._loop.call_at(0.0, self._turn)

    def abandon(self, work: Work) -> None: ...

    def _turn(self) -> None:
        self._woken = False
        source = self._source
        until = monotonic() + INLINE_MAX_S
        while (work := source.next()) is not None:
            work.perform()
            source.finish(work)
            if monotonic() >= until:
                self.wake()
                break
        source.settle()


class OnThreads:
    """Runs on the threads that all slow models share."""

    outlasts = True

    def __init__(self, source: Source[Any], execution: "Execution") -> None:
        self._source = source
        self._execution = execution

    def wake(self) -> None:
        self._execution.line_up(self._source)

    def abandon(self, work: Work) -> None:
        self._execution.abandon(work)


class InTasks:
    """Runs each work in a task: user code that waits for something else."""

    outlasts = True
    slots = TASKS_MAX

    def __init__(self, source: Source[Any], execution: "Execution", linger_s: float = 0.0) -> None:
        """linger_s: how long a task goes on when nobody waits for it."""
        self._source = source
        self._execution = execution
        self._linger_s = linger_s
        self._tasks: dict[Work, asyncio.Task[None]] = {}

    def wake(self) -> None:
        while len(self._tasks) < self.slots and (work := self._source.next()) is not None:
            self._tasks[work] = task = self._execution.spawn(work.perform_on_loop(self._execution))
            task.add_done_callback(partial(self._performed, work))

    def abandon(self, work: Work) -> None:
        task = self._tasks[work]
        if self._linger_s:
            self._execution.loop.call_later(self._linger_s, task.cancel)
        else:
            task.cancel()

    def _performed(self, work: Work, task: asyncio.Task[None]) -> None:
        """Also for a task that was cancelled before it began."""
        del self._tasks[work]
        self._source.finish(work)
        self._source.settle()
        self.wake()


class Execution:
    """The threads and tasks of a host: `async with` it in the event loop that uses it, before anything runs.

    Leaving it ends tasks, and does not wait for threads: what runs on them goes on to its end.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.changed: Callable[[], None] = _nobody
        """Called when `healthy` may have changed."""
        self._on_threads: dict[Work, tuple[Source[Any], ModelThread]] = {}
        """What runs on threads, but for what was given up."""
        self._hung: dict[Work, ModelThread] = {}
        self._free: list[ModelThread] = []
        self._line: dict[Source[Any], None] = {}
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="loading", initializer=turns.take_long)
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self.loop: asyncio.AbstractEventLoop

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._line.clear()
        for worker in (*self._free, *(worker for _, worker in self._on_threads.values())):
            worker.stop()
        self._loading.shutdown(wait=False, cancel_futures=True)
        for task in self._tasks:
            task.cancel()
        await self._group.__aexit__(None, None, None)  # what went wrong inside is no error of its tasks

    @property
    def running(self) -> int:
        """Runs on threads now, those included that were given up."""
        return len(self._on_threads) + len(self._hung)

    @property
    def healthy(self) -> bool:
        """Whether the next run that hangs can be given up as well."""
        return len(self._hung) < HUNG_MAX

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine that lets nothing but its cancellation out."""
        task = self._group.create_task(work, name="model-call")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def line_up(self, source: Source[Any]) -> None:
        """`source` has work for a thread. Standing in line twice is once."""
        self._line[source] = None
        self._fill()

    async def on_thread(self, function: Callable[[Any], T], argument: Any) -> T:
        """Runs `function(argument)` on a thread, in its turn."""
        errand = _Errand(function, argument, self.loop.create_future())
        self.line_up(errand)
        try:
            await errand.over
        except asyncio.CancelledError:
            self.abandon(errand)
            raise
        if errand.error is not None:
            raise errand.error
        result: T = errand.result
        return result

    async def aside(self, function: Callable[[Any], T], argument: Any) -> T:
        """Runs `function(argument)` on a thread of its own: loading takes no thread from models that serve."""
        return await self.loop.run_in_executor(self._loading, function, argument)

    def abandon(self, work: Work) -> None:
        """Nobody waits for what runs on a thread: it may go on for a while."""
        if work in self._on_threads:
            self.loop.call_later(LINGER_S, self._give_up, work)

    def _give_up(self, work: Work) -> None:
        if work not in self._on_threads or len(self._hung) == HUNG_MAX:
            return
        source, worker = self._on_threads.pop(work)
        self._hung[work] = worker
        stack = stack_of(worker.ident)
        log.error("run_given_up", **work.title, hung=len(self._hung), hung_max=HUNG_MAX, stack=stack)
        if not self.healthy:
            self.changed()
        self._let_go(source, work)

    def _fill(self) -> None:
        while len(self._on_threads) < self.threads and self._line:
            source = next(iter(self._line))
            del self._line[source]
            work = source.next()
            if work is None:
                continue
            worker = self._free.pop() if self._free else ModelThread("model")
            self._on_threads[work] = (source, worker)
            worker.take(partial(self._perform, work))
            if len(self._on_threads) < self.threads:
                self._line[source] = None  # it may have more, and there is room

    def _perform(self, work: Work) -> None:
        """On a thread."""
        work.perform()
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._performed, work)

    def _performed(self, work: Work) -> None:
        if work in self._on_threads:
            source, worker = self._on_threads.pop(work)
            self._free.append(worker)
            self._let_go(source, work)
            return
        self._hung.pop(work).stop()  # it came back after all, and its place is taken
        log.info("run_came_back", **work.title, hung=len(self._hung))
        self.changed()

    def _let_go(self, source: Source[Any], work: Work) -> None:
        """Threads first: the answers leave while the next run is under way.

        The source stands in line again, at the end unless it has a place: it may have more, but others have waited.
        """
        self._line[source] = None
        self._fill()
        source.finish(work)
        source.settle()


class _Errand:
    """One call of a function on a thread: a source of a single work, which it is itself."""

    def __init__(self, function: Callable[[Any], Any], argument: Any, over: asyncio.Future[None]) -> None:
        self._function = function
        self._argument = argument
        self._begun = False
        self.title = {"step": getattr(function, "__qualname__", repr(function))}
        self.over = over
        self.result: Any = None
        self.error: BaseException | None = None

    def next(self) -> Self | None:
        if self._begun or self.over.cancelled():
            return None
        self._begun = True
        return self

    def perform(self) -> None:
        try:
            self.result = self._function(self._argument)
        except BaseException as error:  # user code ends here; it is raised where it was called
            self.error = error

    async def perform_on_loop(self, threads: Execution) -> None:
        self.perform()

    def finish(self, work: Work) -> None:
        if not self.over.cancelled():
            self.over.set_result(None)

    def settle(self) -> None: ...


def _nobody() -> None: ...
