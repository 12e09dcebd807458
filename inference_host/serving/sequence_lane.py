"""The lane of a model that keeps state: steps of sequences (sequences.py) among the calls of a queue.

Steps wait in the same queue as other calls, with the same limits, estimates and deadlines. What differs is which one is
taken: the most urgent call says which sequence is served next, and the first step of that sequence runs. So a step is
never passed by a later one of its sequence, and an urgent one brings those before it forward.

A call without a sequence is one of its own, of a single step.

Steps go alone: there is one state for each. A step that has begun runs to its end and counts, also when its caller has
gone meanwhile; only one that hangs is given up, and its sequence with it.
"""

from collections.abc import Callable

from inference_host.model.loaded import Loaded, Threads
from inference_host.model.template import Memory
from inference_host.serving.batching import Batch, Queue
from inference_host.serving.estimates import Estimates
from inference_host.serving.execution import Runner, Source
from inference_host.serving.lane import Lane
from inference_host.serving.meter import OURS, Tally
from inference_host.serving.runs import Ask, Run
from inference_host.serving.sequences import Sequences, unknown
from inference_host.values.calls import SequenceLimits
from waypost.errors import MeshError


class StepQueue(Queue[Ask]):
    """A queue in which the steps of a sequence keep their order."""

    def __init__(self, estimates: Estimates, limits: SequenceLimits, *, queue_rows_max: int, slots: int) -> None:
        super().__init__(estimates, queue_rows_max=queue_rows_max, slots=slots)
        self.sequences: Sequences[Ask, Memory] = Sequences(limits)

    def offer(self, job: Ask, now: float) -> MeshError | None:
        """As Queue.offer, and Invalid(UNKNOWN_SEQUENCE), Unavailable(TOO_MANY_SEQUENCES)."""
        place = job.place
        refusal = self.sequences.refusal(place, now) if place is not None else None
        refusal = refusal or super().offer(job, now)
        if refusal is None and place is not None:
            self.sequences.join(job, place, now)
        return refusal

    def take(self, now: float) -> Batch[Ask] | None:
        for urgent in self.backlog.jobs:
            ask = urgent if urgent.place is None else self.sequences.first(urgent.place.key)
            if ask is not None:
                return self._begin_step(ask, now)
        return None

    def withdraw(self, job: Ask) -> None:
        super().withdraw(job)
        self._leave(job)

    def expire(self, now: float) -> list[Ask]:
        """And forgets sequences that have been idle for too long."""
        late = [*super().expire(now)]
        for ask in late:
            self._leave(ask)
        self.sequences.expire(now)
        return late

    def next_wake(self, now: float) -> float:
        return min(super().next_wake(now), self.sequences.next_expiry())

    def _leave(self, ask: Ask) -> None:
        if ask.place is not None:
            self.sequences.leave(ask, ask.place.key)

    def _begin_step(self, ask: Ask, now: float) -> Batch[Ask]:
        self.backlog.remove(ask)  # it may stand anywhere
        return self._started(Batch([ask], ask.rows, ask.size, now, ask.run_s), now)


class StepRun(Run):
    """One step, with what is remembered of its sequence."""

    __slots__ = ("_memory", "_place")

    def __init__(
        self, batch: Batch[Ask], loaded: Loaded, memory: Memory | None, clock: Callable[[], float], taken: float
    ) -> None:
        """memory: None where nothing is remembered, and this step does not begin anew."""
        super().__init__(batch, loaded if memory is None else loaded.within(memory), clock, taken)
        self._memory = memory
        self._place = batch.jobs[0].place

    @property
    def kept(self) -> bool:
        """Whether the next step can go on with the state that this one left."""
        if self._memory is None or not self._memory.begun or not self.answers:
            return False
        answer = self.answers[0]
        if not isinstance(answer, MeshError):
            return True
        begins = self._place is not None and self._place.start
        return not begins and not isinstance(answer, OURS)

    def perform(self) -> None:
        if not self._is_lost():
            super().perform()

    async def perform_on_loop(self, threads: Threads) -> None:
        if not self._is_lost():
            await super().perform_on_loop(threads)

    def _is_lost(self) -> bool:
        """The sequence ended while this step waited: the model is not asked."""
        if self._memory is not None:
            return False
        assert self._place is not None
        self.answers = [unknown(self._place)]
        return True


class StepLane(Lane):
    """Of a model that keeps state."""

    def __init__(
        self,
        loaded: Loaded,
        queue: StepQueue,
        tally: Tally,
        clock: Callable[[], float],
        runner: Callable[[Source[Run]], Runner],
        settled: Callable[[], None],
    ) -> None:
        super().__init__(loaded, queue, tally, clock, runner, settled)
        self._sequences = queue.sequences

    def _begin(self, batch: Batch[Ask], now: float) -> Run:
        place = batch.jobs[0].place
        memory = Memory() if place is None else self._sequences.begin(place.key, Memory())
        return StepRun(batch, self._loaded, memory, self._clock, now)

    def finish(self, run: Run) -> None:
        assert isinstance(run, StepRun)
        place = run.batch.jobs[0].place
        if place is not None:
            now = self._clock()
            self._sequences.ended(place.key, now, kept=run.kept)
            self._wake(self._sequences.next_expiry(), now)
            self._runner.wake()  # the runner has asked already, before the next step of this sequence could run
        super().finish(run)
