"""One model version of a host: where it is in its life, and which way a call goes once it serves.

Calls that should be over in less than a hand-over to a thread takes go to a lane on the event loop; larger ones, and
all calls of slow models and of templates, to one on threads; those of asynchronous templates to one with tasks. What
one lane learns about run times the other knows too. A model that keeps state has one lane, which knows of sequences.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from inference_host.model.manifest import Package
from inference_host.serving.backlog import NEVER
from inference_host.serving.batching import Batching, Queue
from inference_host.serving.calibration import elements
from inference_host.serving.estimates import Estimates
from inference_host.serving.execution import (
    INLINE_MAX_S,
    LINGER_S,
    TASKS_MAX,
    Execution,
    InTasks,
    OnLoop,
    OnThreads,
    Runner,
    Source,
)
from inference_host.serving.lane import Lane
from inference_host.serving.lifecycle import Lifecycle
from inference_host.serving.loader import Warm
from inference_host.serving.meter import Tally
from inference_host.serving.plan import Grouping, Plan, Way
from inference_host.serving.runs import Ask, Run
from inference_host.serving.sequence_lane import StepLane, StepQueue
from inference_host.values.calls import Call, Facts, Origin
from inference_host.values.signature import checked_inputs, checked_outputs


@dataclass(slots=True, eq=False)
class Served:
    """One model version of this host and where it is in its life."""

    package: Package
    life: Lifecycle = field(default_factory=Lifecycle)
    warm: Warm | None = None
    """Set when it is READY."""
    lanes: "Lanes | None" = None
    """The same."""
    facts: Facts = ()
    """Who answers, as replies carry it."""
    tally: Tally = field(default_factory=Tally)

    def tell(self, facts: Facts) -> None:
        """What its answers carry from now on."""
        self.facts = facts
        origin = Origin(self.package.model, self.package.version, facts)
        for lane in self.lanes.all if self.lanes else ():
            lane.origin = origin

    def drain(self) -> None:
        """Lets no calls in any more."""
        self.life = self.life.draining()
        if self.lanes is not None:
            self.lanes.close()

    def unload(self) -> Sequence[Lane]:
        """The same, and forgets the model. Returns where the calls are that came in before."""
        lanes: Sequence[Lane] = ()
        if self.lanes is not None:
            self.lanes.close()
            lanes = self.lanes.all
        self.life, self.warm, self.lanes = self.life.unloaded(), None, None
        return lanes


class Lanes:
    """The ways of a version that serves."""

    def __init__(
        self,
        warm: Warm,
        tally: Tally,
        execution: Execution,
        batching: Batching,
        clock: Callable[[], float],
        settled: Callable[[], None],
    ) -> None:
        """Raises nothing; in the event loop. settled: hears when answers have been told."""
        self.warm = warm
        self.batch_rows_max = _batch_rows_max(warm, batching)
        """1: calls never go together."""
        estimates = _estimates(warm)

        def queue(slots: int, run_s_max: float = NEVER) -> Queue[Ask]:
            return Queue(
                estimates,
                rows_max=self.batch_rows_max,
                delay_s=batching.delay_s,
                queue_rows_max=batching.queue_rows_max,
                slots=slots,
                run_s_max=run_s_max,
            )

        sequences, on_loop = warm.loaded.sequences, warm.loaded.steps.on_loop
        self.instances = TASKS_MAX if on_loop else execution.threads
        lane = partial(Lane, warm.loaded, tally=tally, clock=clock, settled=settled)
        self._small: Lane | None = None
        linger_s = 0.0 if sequences is None else LINGER_S  # a step that has begun counts

        def runner(source: Source[Run]) -> Runner:
            return InTasks(source, execution, linger_s) if on_loop else OnThreads(source, execution)

        if sequences is not None:
            steps = StepQueue(estimates, sequences, queue_rows_max=batching.queue_rows_max, slots=self.instances)
            self._large: Lane = StepLane(warm.loaded, steps, tally, clock, runner, settled)
        else:
            self._large = lane(queue(self.instances), runner=runner)
        if warm.inline_elements_max and not on_loop:
            self._small = lane(queue(1, INLINE_MAX_S), runner=partial(OnLoop, loop=execution.loop))
        self._grouping = Grouping(warm.loaded.signature)
        self._ways = {lane: Way(lane) for lane in self.all}

    @property
    def all(self) -> tuple[Lane, ...]:
        return (self._large,) if self._small is None else (self._small, self._large)

    def plan(self, call: Call) -> Plan:
        """For it and all others of its form. Raises: Invalid."""
        warm = self.warm
        inputs = checked_inputs(warm.loaded.signature, call.inputs)
        wanted = checked_outputs(warm.loaded.signature, call.outputs)
        is_small = elements(inputs) <= warm.inline_elements_max
        lane = self._small if self._small is not None and is_small else self._large
        keeps_state = warm.loaded.sequences is not None
        return Plan(self._ways[lane], inputs, wanted, self._grouping, keeps_state=keeps_state)

    def close(self) -> None:
        """No plan leads here any more."""
        for way in self._ways.values():
            way.lane = None


def _batch_rows_max(warm: Warm, batching: Batching) -> int:
    """An operator's word goes, but rows that depend on each other never go together."""
    if not warm.together.apart:
        return 1
    return batching.rows_max or warm.together.rows_max


def _estimates(warm: Warm) -> Estimates:
    estimates = Estimates(warm.together.runs)
    if warm.samples and not warm.loaded.steps.on_loop:
        estimates.learn(elements(warm.samples[0]), warm.run_s)
    return estimates
