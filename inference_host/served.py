"""One model version of a host: where it is in its life, and which way a call goes once it serves.

Calls that should be over in less than a hand-over to a thread takes go to a lane on the event loop; larger ones, and
all calls of slow models and of templates, to one on threads; those of asynchronous templates to one with tasks. What
one lane learns about run times the other knows too. A model that keeps state has one lane, which knows of sequences.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakSet

from inference_host.backlog import NEVER
from inference_host.batching import Batching, Queue
from inference_host.calls import Call, Done, Facts, Origin, place_of, refuse_sequence
from inference_host.estimates import Estimates
from inference_host.execution import (
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
from inference_host.lane import Lane
from inference_host.lifecycle import Lifecycle
from inference_host.loader import Warm
from inference_host.manifest import Package
from inference_host.meter import Tally
from inference_host.probe import elements, has_rows
from inference_host.runs import Ask, Run
from inference_host.sequence_lane import StepLane, StepQueue
from inference_host.sequences import Place
from inference_host.signature import Signature, TensorSpec, checked_inputs, checked_outputs
from inference_host.template import Arrays
from inference_host.tensors import Array


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


class Plan:
    """What calls of one form come to: checked and measured once."""

    def __init__(
        self, lane: Lane, inputs: Arrays, wanted: tuple[TensorSpec, ...], grouping: "Grouping", *, keeps_state: bool
    ) -> None:
        self.lane: Lane | None = lane
        """None when its model lets no calls in any more: plans are kept by those who call, and must not keep it."""
        self.wanted = wanted
        self.rows, self.size, self.bytes, group = grouping.of(inputs)
        self.group = None if keeps_state else group
        self._keeps_state = keeps_state

    def place(self, call: Call) -> Place | None:
        """Which step of which sequence it is. Raises: Invalid(BAD_PARAMETER), Unsupported(UNSUPPORTED_PARAMETER)."""
        if self._keeps_state:
            return place_of(call)
        refuse_sequence(call)
        return None

    def ask(self, call: Call, deadline: float, done: Done, arrived: float) -> Ask:
        """A call on its way."""
        inputs: Arrays = {}
        for tensor in call.inputs:
            inputs[tensor.name] = tensor.array
        bytes_ = self.bytes if self.bytes >= 0 else sum(map(_bytes, inputs.values()))
        return Ask(self, bytes_, deadline, call.id, inputs, done, arrived)


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
        self._plans: WeakSet[Plan] = WeakSet()

    @property
    def all(self) -> tuple[Lane, ...]:
        return (self._large,) if self._small is None else (self._small, self._large)

    def plan(self, call: Call) -> Plan:
        """For it and all others of its form. Raises: Invalid."""
        warm = self.warm
        inputs = checked_inputs(warm.loaded.signature, call.inputs)
        wanted = checked_outputs(warm.loaded.signature, call.outputs)
        is_small = self._small is not None and elements(inputs) <= warm.inline_elements_max
        lane = self._small if self._small is not None and is_small else self._large
        plan = Plan(lane, inputs, wanted, self._grouping, keeps_state=warm.loaded.sequences is not None)
        self._plans.add(plan)
        return plan

    def close(self) -> None:
        """No plan leads here any more."""
        for plan in self._plans:
            plan.lane = None


class Grouping:
    """How large the calls of a model are, and which of them may go together."""

    def __init__(self, signature: Signature) -> None:
        self._has_rows = has_rows(signature)
        self._one_tail = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        self._has_text = any(spec.datatype == "BYTES" for spec in signature.inputs)

    def of(self, inputs: Arrays) -> tuple[int, int, int, Hashable]:
        """Rows, elements, bytes and the group.

        bytes: -1 where they do not follow from the shapes. group: None for calls that go with no others.
        """
        size = elements(inputs)
        bytes_ = -1 if self._has_text else sum(map(_bytes, inputs.values()))
        if not self._has_rows:
            return 1, size, bytes_, None
        rows, *others = [array.shape[0] for array in inputs.values()]
        if not rows or any(other != rows for other in others):
            return rows, size, bytes_, None
        return rows, size, bytes_, () if self._one_tail else tuple([array.shape[1:] for array in inputs.values()])


def _bytes(array: Array) -> int:
    """numpy does not count texts: it sees the pointers only."""
    return array.nbytes + (sum(map(len, array.flat)) if array.dtype == object else 0)


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
