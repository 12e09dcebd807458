"""The asyncio face of the SDK: the same as `waypost.client`, awaited. For the event loop that it was made in.

    async with waypost.aio.connect("http://127.0.0.1:7680", position="uav/path/tower-7", token=TOKEN) as position:
        with position.loop(deadline_s=0.1):
            answer = await position.infer(window)

One task per connection reports closed loops.
"""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, TypeVar

import grpc.aio

from waypost._core import DEFAULT_TIMEOUT_S, SequenceStep, Session
from waypost._position import PositionFace, new_session
from waypost._steps import Call, Pause, Reply, Steps, headers, methods
from waypost.answer import Answer
from waypost.errors import MeshError, Precondition
from waypost.loop import FLUSH_S, REPORT_PACE_S, REPORT_TIMEOUT_S, LoopRecord
from waypost.rpc import Tls, open_aio_channel
from waypost.tensors import Signature

T = TypeVar("T")


def connect(
    address: str,
    *,
    position: str,
    token: str,
    client: str = "",
    timeout: float = DEFAULT_TIMEOUT_S,
    tls: Tls | None = None,
) -> "Connecting":
    """A connection to one position: `async with connect(...) as position`, or `await connect(...)` and close it.

    Arguments and errors are those of `waypost.connect`.
    """
    return Connecting(new_session(address, position, token, client), timeout, tls)


class Connecting:
    """A connection about to be made; await it or enter it, once."""

    def __init__(self, session: Session, timeout_s: float, tls: Tls | None) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._tls = tls
        self._position: Position | None = None

    def __await__(self) -> Generator[Any, None, "Position"]:
        return self._connect().__await__()

    async def __aenter__(self) -> "Position":
        self._position = await self._connect()
        return self._position

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._position is not None
        await self._position.close()

    async def _connect(self) -> "Position":
        position = Position(self._session, open_aio_channel(self._session.target.address, tls=self._tls))
        try:
            await position._play(self._session.register(self._timeout_s))
        except BaseException:
            await position.close()
            raise
        return position


class Position(PositionFace):
    """A connection to one position; `connect` makes it."""

    def __init__(self, session: Session, channel: grpc.aio.Channel) -> None:
        super().__init__(session)
        self._channel = channel
        self._methods = methods(channel)
        self._event_loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._loops_waiting = asyncio.Event()
        # Not in a TaskGroup: around the caller's block it would wrap the caller's own exceptions in a group.
        self._reporter = asyncio.create_task(self._report(), name="waypost-loops")

    async def infer(
        self,
        inputs: object,
        *,
        timeout: float | None = None,
        sequence_id: int | str | None = None,
        sequence_start: bool = False,
        sequence_end: bool = False,
    ) -> Answer:
        """Asks the position's model; see `waypost.client.Position.infer`."""
        step = SequenceStep.of(sequence_id, sequence_start, sequence_end)
        with self._call_time(timeout) as timeout_s:
            return await self._play(self._session.infer(inputs, timeout_s, step))

    async def signature(self, *, timeout: float | None = None) -> Signature:
        """What the model takes and gives now."""
        with self._call_time(timeout) as timeout_s:
            return await self._play(self._session.signature(timeout_s))

    async def close(self) -> None:
        """Delivers the last loop reports, for a second at most, and disconnects. May be called twice."""
        if self._closed or self._in_a_fork():
            return
        self._closed = True
        self._closing.set()
        self._loops_waiting.set()
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._reporter
        except TimeoutError:
            pass  # the reports that are left count as dropped or pending
        finally:
            self._reporter.cancel()
            await self._channel.close()

    def _refuse_misuse(self) -> None:
        super()._refuse_misuse()
        if asyncio.get_running_loop() is not self._event_loop:
            raise Precondition(
                "WRONG_EVENT_LOOP",
                f"the connection to {self.name} belongs to another event loop",
                "connect inside the loop that calls, or use the blocking `waypost.connect`",
            )

    async def _play(self, script: Steps[T]) -> T:
        """Plays a script (`_steps.py`) to its end, awaiting each call."""
        reply: Reply | None = None
        error: MeshError | None = None
        try:
            while True:
                step = script.send(reply) if error is None else script.throw(error)
                reply = error = None
                try:
                    reply = await self._perform(step)
                except MeshError as failed:
                    error = failed
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            script.close()  # when this task is cancelled, what the script holds is let go

    async def _perform(self, step: Call | Pause) -> Reply | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        message, call = await self._methods[step.rpc.path].with_call(step.request, step.timeout_s, step.metadata)
        return Reply(message, headers(await call.initial_metadata(), await call.trailing_metadata()))

    def _loop_ended(self, record: LoopRecord) -> None:
        self._session.loops.add(record)
        self._loops_waiting.set()

    async def _report(self) -> None:
        while not self._closing.is_set():
            await self._loops_waiting.wait()
            await self._gather_loops()
            self._loops_waiting.clear()
            await self._deliver_reports(REPORT_TIMEOUT_S)
            if self.loops.pending:
                self._loops_waiting.set()
        await self._deliver_reports(FLUSH_S)

    async def _gather_loops(self) -> None:
        try:
            async with asyncio.timeout(REPORT_PACE_S):
                await self._closing.wait()
        except TimeoutError:
            pass  # time to report what has gathered

    async def _deliver_reports(self, timeout_s: float) -> None:
        while await self._play(self._session.report(timeout_s)):
            pass
