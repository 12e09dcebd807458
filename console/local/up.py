"""`waypost up`, in the foreground and detached: raise, keep, follow, and stop again."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from console import contexts
from console.local import raising, stopping, supervision
from console.local.alone import alone
from console.local.choices import Choices, remember
from console.local.components import SUPERVISOR, Layout
from console.local.following import follow
from console.local.raising import Raised
from mesh import clock
from waypost.errors import MeshError

PID_LOOK_S = 0.01

Tell = Callable[[str], None]


def detached(layout: Layout, choices: Choices, tell: Tell) -> Raised:
    """Raises the platform, leaves a supervisor behind, and returns when everything is ready. Raises: MeshError."""
    with alone(layout, clock.now()), _interruptible():
        raised = _raise(layout, choices, tell)
        _spawn_supervisor(layout)
        return raised


def _spawn_supervisor(layout: Layout) -> None:
    process = layout.process(SUPERVISOR)
    process.spawn((sys.executable, "-m", supervision.__name__, str(layout.data_dir)))
    while process.alive() and process.pid() is None:  # its pid is the first thing that it writes
        time.sleep(PID_LOOK_S)


def foreground(layout: Layout, choices: Choices, tell: Tell, ready: Callable[[Raised], None]) -> None:
    """Raises the platform, keeps and follows it until Ctrl-C, and stops it all. Raises: MeshError."""
    tell = _unbreakable(tell)
    with alone(layout, clock.now()):
        with _interruptible():
            raised = _raise(layout, choices, tell)
            with suppress(KeyboardInterrupt):
                ready(raised)
                asyncio.run(_keep(raised, tell))
        tell("\nstopping")
        asyncio.run(stopping.stop_processes(layout, tell))


def _unbreakable(tell: Tell) -> Tell:
    """A terminal that was closed must not keep us from stopping what we started."""

    def tell_if_anybody_listens(line: str) -> None:
        with suppress(OSError):
            tell(line)

    return tell_if_anybody_listens


def _raise(layout: Layout, choices: Choices, tell: Tell) -> Raised:
    started = time.monotonic()

    def ready(title: str, where: str, done: str) -> None:
        tell(f"  {title:19}{where}  ({done}, {time.monotonic() - started:.1f} s)")

    raised = raising.prepare(layout, choices)
    try:
        raising.raise_platform(layout, choices, raised, ready)
    except (MeshError, OSError, KeyboardInterrupt):
        asyncio.run(_undo(layout, raised))
        raise
    remember(layout.choices, choices)
    _use_context(raised, tell)
    return raised


async def _undo(layout: Layout, raised: Raised) -> None:
    """Half a platform helps nobody: what was started is stopped; what ran before is left alone."""
    if len(raised.started) == len(raised.components):
        await stopping.stop_processes(layout, lambda line: None)
    for component in reversed(raised.started):
        await component.process.stop(stopping.GRACE_S)


def _use_context(raised: Raised, tell: Tell) -> None:
    """Makes the platform the one that commands of this person speak to."""
    context = raised.context
    try:
        before = contexts.named(context.name).data_dir
    except MeshError:
        before = context.data_dir
    contexts.save(context)
    contexts.use(context.name)
    if before != context.data_dir:
        tell(f"context {context.name!r} meant the platform in {before or 'another place'} until now")


async def _keep(raised: Raised, tell: Tell) -> None:
    """Until a signal asks us to stop."""
    stop = asyncio.Event()
    for number in _stop_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def line(name: str, news: str) -> None:
        tell(f"{time.strftime('%H:%M:%S')}  {name}  {news}")

    processes = {component.name: component.process for component in raised.components}
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(supervision.keep_all(processes, line), name="keep")
        following = group.create_task(follow(raised.context, line), name="follow")
        await stop.wait()
        keeping.cancel()
        following.cancel()


def _stop_signals() -> list[signal.Signals]:
    """All mean "stop everything", a terminal that is closed too, unless `nohup` said that it does not matter."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([] if ignored else [signal.SIGHUP])]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Inside, every stop signal is a KeyboardInterrupt, as Ctrl-C is."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
