"""From a call to its answer: the queue of one model version, and its runs.

    submit ──▶ Queue ──▶ Run ──▶ tell ──▶ settled
            (batching)  (runs: put together, through the model, taken apart; execution: where)

A lane is the `Source` of a runner, which asks it for runs when there is room. Whatever a call comes to, its `done`
hears it exactly once, in the event loop, and never after it was withdrawn. `settled` is called when all that was known
at one time has been told, so that the answers of a batch leave their connections together.

**Deadlines** have one timer for the whole lane, set to the earliest; it tells those who are late, in the queue or in a
run, and is only there where calls outlast a turn of the loop. On the loop nothing could be told earlier than it is
noticed anyway: when its turn comes a call that is late is told so instead of being run.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from inference_host.model.loaded import Loaded
from inference_host.serving.backlog import NEVER
from inference_host.serving.batching import OVERLOADED, Batch, Queue, too_late
from inference_host.serving.execution import Runner, Source
from inference_host.serving.meter import Spent, Tally
from inference_host.serving.runs import Ask, Run
from inference_host.values.calls import Answer, Origin
from waypost.errors import Internal, MeshError

log = structlog.get_logger()


class Lane:
    """Of one model version. Everything is called in the event loop."""

    def __init__(
        self,
        loaded: Loaded,
        queue: Queue[Ask],
        tally: Tally,
        clock: Callable[[], float],
        runner: Callable[[Source[Run]], Runner],
        settled: Callable[[], None],
    ) -> None:
        """clock: what deadlines are read on. runner: makes the one that runs what this lane has."""
        self.origin = Origin(loaded.package.model, loaded.package.version)
        """Who answers, from now on."""
        self.calls = 0
        """Calls that wait or run, and whose callers wait for them."""
        self._loaded = loaded
        self._queue = queue
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._tally = tally
        self._runner = runner(self)
        self._settled = settled
        self._runs: set[Run] = set()
        self._wake_at = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue.backlog)

    def submit(self, ask: Ask, now: float) -> None:
        refusal = self._queue.offer(ask, now)
        if refusal is not None:
            ask.told = True
            self._tally.refused(refusal, now - ask.arrived, late=refusal.reason == OVERLOADED)
            ask.done(refusal)
            return
        self.calls += 1
        self._runner.wake()
        if self._runner.outlasts and ask.deadline < self._wake_at:
            self._wake(ask.deadline, now)

    def withdraw(self, ask: Ask) -> None:
        """Nobody waits for its answer any more. Nothing happens where it was told."""
        if ask.told:
            return
        now = self._clock()
        ask.told = True
        self.calls -= 1
        if ask.waiting:
            self._tally.waited(now - ask.queued)
        self._queue.withdraw(ask)
        self._tally.withdrawn(now - ask.arrived, late=now >= ask.deadline)
        self._abandon_runs()
        self._rest()

    def spent(self, now: float) -> Spent:
        """By those who are here now, so far."""
        waiting = self._queue.backlog.jobs
        inside_s = sum([now - ask.arrived for ask in (*waiting, *self._running())])
        return Spent(inside_s, sum([now - ask.queued for ask in waiting]), self._queue.open_work_s(now))

    async def rest(self) -> None:
        """Returns when nothing waits or runs any more. For lanes that take no further calls."""
        self._idle = self._idle or asyncio.Event()
        self._rest()
        await self._idle.wait()

    # -- execution.Source

    def next(self) -> Run | None:
        if not self._queue.backlog.jobs:
            return None
        now = self._clock()
        late = self._queue.expire(now)
        if late:
            self._tell_expired(late, now)
            self._loop.call_soon(self.settle)
        batch = self._queue.take(now)
        if batch is None:
            self._wake(self._queue.next_wake(now), now)
            return None
        run = self._begin(batch, now)
        self._runs.add(run)
        if self._runner.outlasts:
            self._wake(now + self._loaded.hung_after_s, now)
        return run

    def _begin(self, batch: Batch[Ask], now: float) -> Run:
        return Run(batch, self._loaded, self._clock, now)

    def finish(self, run: Run) -> None:
        told = self._clock()
        self._runs.discard(run)
        self._queue.finished(run.batch, run.ended - run.prepared if run.clean else None)
        self._count(run, told)
        if run.answers:
            self._tell(run, told)
        else:  # it was given up, or its task was cancelled: nobody waits, or the host ends
            for ask in run.asks:
                self._fail(ask, Internal("STOPPED", "the host ended before the model had answered"), told)

    def settle(self) -> None:
        self._settled()
        self._rest()

    # -- telling

    def _count(self, run: Run, told: float) -> None:
        calls = len(run.asks)
        input_s, infer_s, output_s = run.parts_s(told)
        self._tally.ran(
            calls,
            run.batch.rows,
            queue_s=calls * run.taken - sum([ask.queued for ask in run.asks]),
            input_s=input_s,
            infer_s=infer_s,
            output_s=output_s,
            work_s=self._queue.work_s(run.batch, told - run.taken),
        )

    def _tell(self, run: Run, told: float) -> None:
        compute_s = run.ended - run.prepared
        batch_s = told - run.taken - compute_s
        origin, taken = self.origin, run.taken
        took_s: list[float] = []
        rows = late = gone = 0
        for ask, given in zip(run.asks, run.answers, strict=True):
            if ask.told:
                gone += 1
                continue
            if isinstance(given, MeshError):
                self._fail(ask, given, told)
                continue
            total_s = told - ask.arrived
            took_s.append(total_s)
            rows += ask.rows
            late += told >= ask.deadline
            timing = (taken - ask.queued, batch_s, compute_s, total_s)
            self._end(ask, Answer(origin, ask.id, ask.wanted, given, timing))
        if took_s:
            self._tally.answered(took_s, rows, late=late, now=told)
        if gone or late:
            self._tally.wasted_runs += gone + late

    def _fail(self, ask: Ask, error: MeshError, now: float) -> None:
        if not ask.told:
            self._tally.failed(error, now - ask.arrived, late=now >= ask.deadline)
            self._end(ask, error)

    def _tell_expired(self, asks: Sequence[Ask], now: float) -> None:
        for ask in asks:
            self._tally.waited(now - ask.queued)
        self._tell_late(asks, "before the model was asked", now)

    def _tell_late(self, asks: Sequence[Ask], when: str, now: float) -> None:
        for ask in asks:
            self._fail(ask, too_late(when), now)

    def _tell_hung(self, now: float) -> None:
        """Callers without a deadline need not wait for ever either."""
        allowed_s = self._loaded.hung_after_s
        for run in list(self._runs):
            if run.taken + allowed_s <= now:
                for ask in run.asks:
                    self._fail(ask, _hung(allowed_s), now)

    def _end(self, ask: Ask, outcome: Answer | MeshError) -> None:
        ask.told = True
        self.calls -= 1
        try:
            ask.done(outcome)
        except Exception as error:  # a face that cannot take its answer must not cost the others of the batch theirs
            log.error("answer_lost", exc_info=error)

    # -- time

    def _wake(self, when: float, now: float) -> None:
        """Looks again at `when`, unless an earlier look is due anyway."""
        if when >= self._wake_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wake_at = when
        self._timer = self._loop.call_later(max(0.0, when - now), self._look)

    def _look(self) -> None:
        """A deadline has passed, or a batch that was kept open closes."""
        now = max(self._clock(), self._wake_at)  # timers may come a tick of the clock early
        self._timer, self._wake_at = None, NEVER
        self._tell_expired(self._queue.expire(now), now)
        self._tell_late([ask for ask in self._running() if ask.deadline <= now], "before the model answered", now)
        self._tell_hung(now)
        self._abandon_runs()
        self._runner.wake()
        self.settle()
        earliest = min([ask.deadline for ask in self._running()], default=NEVER)
        hung = min([run.taken for run in self._runs if not run.abandoned], default=NEVER) + self._loaded.hung_after_s
        self._wake(min(earliest, hung, self._queue.next_wake(now)), now)

    def _running(self) -> list[Ask]:
        """Calls in runs whose callers wait for them."""
        return [ask for run in self._runs for ask in run.asks if not ask.told]

    def _abandon_runs(self) -> None:
        for run in list(self._runs):
            if not run.abandoned and all(ask.told for ask in run.asks):
                run.abandoned = True
                self._runner.abandon(run)

    def _rest(self) -> None:
        if self._idle is not None and not self.calls and not self._runs:
            self._idle.set()


def _hung(allowed_s: float) -> Internal:
    hint = "its stack stands in the host's log; a template may allow more: hung_after_s"
    return Internal("MODEL_HUNG", f"the model has not answered this request within {allowed_s:g} s", hint)
