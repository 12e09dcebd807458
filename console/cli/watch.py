"""`waypost watch`: one position, live.

Two streams are followed at once, the position's state and its figures, each across a platform that restarts, and what
is newest is drawn once a second. While nobody watches, the edge sends its figures at a slower pace: it is this very
stream that tells it to hurry.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import grpc.aio
import typer

from console import figures, messages
from console.cli.session import Session, command, group
from console.client import explained, open_aio
from console.contexts import Context, select
from console.kinds import POSITION
from mesh import clock
from waypost import names
from waypost.api.control.v1.position_pb2 import Position, PositionMetrics, WatchPositionMetricsRequest
from waypost.api.control.v1.position_pb2_grpc import PositionServiceStub
from waypost.api.control.v1.watch_pb2 import WatchRequest
from waypost.api.control.v1.watch_pb2_grpc import WatchServiceStub
from waypost.errors import DeadlineExceeded, NotFound, Unavailable

app = group("")

PACE_S = 1.0  # a person reads no faster, and the edge measures no faster
RETRY_S = 1.0
STALE_S = 5.0  # figures older than this are not shown as if they were now
HISTORY = 60


@dataclass(slots=True)
class Newest:
    """What is known last, filled by the two streams, read by the drawing."""

    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """The position has answered, or is in trouble."""
    position: Position | None = None
    metrics: PositionMetrics | None = None
    metrics_at: float = 0.0
    """On the loop's clock."""
    trouble: str = ""
    """Why a stream is broken; empty while they flow."""
    history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    """Requests per second of the last windows."""

    def fresh_metrics(self, now: float) -> PositionMetrics | None:
        return self.metrics if now - self.metrics_at <= STALE_S else None


Draw = Callable[[Newest], Awaitable[None]]


@command(app, "watch")
def watch(
    session: Session,
    position: Annotated[str, typer.Argument(metavar="POSITION", help="For example uav/path-prediction/tower-7.")],
    seconds: Annotated[
        float | None,
        typer.Option("--for", metavar="SECONDS", min=0, help="Then end, counted from the first answer; else Ctrl-C."),
    ] = None,
) -> None:
    """Follow a position live: state, replicas, request rate, latency, CPU, memory, closed loop.

    With -o json it prints one line a second.
    """
    name = POSITION.parse(position)
    context = select(session.context)
    session.resources.get(POSITION, name)  # a wrong name or a platform that is away is said at once
    draw = _print_lines if session.json else _draw_page
    try:
        with suppress(KeyboardInterrupt):  # the usual end
            asyncio.run(_follow(context, name, draw, seconds))
    except BaseExceptionGroup as group:
        raise _single(group) from group


def _single(error: BaseException) -> BaseException:
    """The first error of a task group: one of the streams failed, and took the others with it."""
    return _single(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _follow(context: Context, name: str, draw: Draw, seconds: float | None) -> None:
    newest = Newest()
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit, open_aio(context) as channel, asyncio.TaskGroup() as group:
            group.create_task(_for_ever(context, newest, lambda: _positions(channel, name, newest)), name="position")
            group.create_task(_for_ever(context, newest, lambda: _metrics(channel, name, newest)), name="metrics")
            await newest.heard.wait()
            if seconds is not None:
                limit.reschedule(asyncio.get_running_loop().time() + seconds)
            await draw(newest)


async def _for_ever(context: Context, newest: Newest, stream: Callable[[], AsyncIterator[None]]) -> None:
    """Follows a stream, and again after each break. Raises: MeshError that time does not heal."""
    while True:
        try:
            with explained(context):
                async for _ in stream():
                    newest.trouble = ""
        except (Unavailable, DeadlineExceeded) as error:
            newest.trouble = error.message
            newest.heard.set()
        await asyncio.sleep(RETRY_S)


async def _positions(channel: grpc.aio.Channel, name: str, newest: Newest) -> AsyncIterator[None]:
    stub: Any = WatchServiceStub(channel)
    seen = False
    async for response in stub.Watch(WatchRequest(names=[name])):
        change = response.WhichOneof("change")
        if change == "position" and response.position.name == name:
            newest.position = response.position
            newest.heard.set()
            seen = True
        elif response.deleted == name or (change == "snapshot_end" and not seen):
            raise NotFound("POSITION_DELETED", f"{names.short(name)} was deleted")
        yield


async def _metrics(channel: grpc.aio.Channel, name: str, newest: Newest) -> AsyncIterator[None]:
    stub: Any = PositionServiceStub(channel)
    async for response in stub.WatchPositionMetrics(WatchPositionMetricsRequest(name=name)):
        newest.metrics = response.metrics
        newest.metrics_at = asyncio.get_running_loop().time()
        newest.history.append(figures.Figures.of(response.metrics).requests_per_s)
        yield


async def _print_lines(newest: Newest) -> None:
    while True:
        if newest.position is not None:
            metrics = newest.fresh_metrics(asyncio.get_running_loop().time())
            print(messages.to_json_line(figures.record(newest.position, metrics, clock.now())), flush=True)
        await asyncio.sleep(PACE_S)


async def _draw_page(newest: Newest) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        while True:
            if newest.position is not None:
                metrics = newest.fresh_metrics(asyncio.get_running_loop().time())
                page = figures.page(newest.position, metrics, list(newest.history), console.width, newest.trouble)
                live.update(Text(page, overflow="fold"), refresh=True)
            await asyncio.sleep(PACE_S / 4)
