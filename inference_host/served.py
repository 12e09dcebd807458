"""One model version of a host: where it is in its life, and which way a call goes once it serves.

Calls that should be over in less than a hand-over to a thread takes go to a lane on the event loop; larger ones, and
all calls of slow models and of templates, to one on threads; those of asynchronous templates to one with tasks. What
one lane learns about run times the other knows too. A model that keeps state has one lane, which knows of sequences.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial

from inference_host.backlog import NEVER
from inference_host.batching import Batching, Queue
from inference_host.calls import Call, Done, Facts, deadline_of, place_of, refuse_sequence
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
from inference_host.signature import Signature, checked_inputs, checked_outputs
from inference_host.template import Arrays
from inference_host.tensors import Array
from waypost.errors import Invalid

ID_CHARS_MAX = 256  # of a request: it is echoed


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
        for lane in self.lanes.all if self.lanes else ():
            lane.facts = facts

    def unload(self) -> Sequence[Lane]:
        """Lets no calls in any more. Returns where those are that came in before."""
        lanes = self.lanes.all if self.lanes else ()
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

    @property
    def all(self) -> tuple[Lane, ...]:
        return (self._large,) if self._small is None else (self._small, self._large)

    def ask(self, call: Call, done: Done, arrived: float) -> tuple[Lane, Ask]:
        """The call, checked, and the lane that it goes to. Raises: Invalid, Unsupported."""
        if len(call.id) > ID_CHARS_MAX:
            raise Invalid(
                "BAD_ID", f"the request's id has {len(call.id)} characters, at most {ID_CHARS_MAX} are allowed"
            )
        warm = self.warm
        inputs = checked_inputs(warm.loaded.signature, call.inputs)
        wanted = checked_outputs(warm.loaded.signature, call.outputs)
        deadline = deadline_of(call, arrived)
        rows, size, bytes_, group = self._grouping.of(inputs)
        lane = self._small if self._small is not None and size <= warm.inline_elements_max else self._large
        deadline = NEVER if deadline is None else deadline
        if warm.loaded.sequences is not None:
            place = place_of(call)
            return lane, Ask(rows, size, bytes_, None, deadline, call.id, inputs, wanted, done, arrived, place)
        if call.parameters:
            refuse_sequence(call)
        return lane, Ask(rows, size, bytes_, group, deadline, call.id, inputs, wanted, done, arrived)


class Grouping:
    """How large the calls of a model are, and which of them may go together."""

    def __init__(self, signature: Signature) -> None:
        self._has_rows = has_rows(signature)
        self._one_tail = all(-1 not in spec.shape[1:] for spec in signature.inputs)
        self._has_text = any(spec.datatype == "BYTES" for spec in signature.inputs)

    def of(self, inputs: Arrays) -> tuple[int, int, int, Hashable]:
        """Rows, elements, bytes and the group; the group is None for a call that goes with no other."""
        size = bytes_ = 0
        for array in inputs.values():
            size += array.size
            bytes_ += array.nbytes
        if self._has_text:
            bytes_ += sum(_text_bytes(array) for array in inputs.values())
        if not self._has_rows:
            return 1, size, bytes_, None
        rows: int = array.shape[0]
        if not rows or (len(inputs) > 1 and any(array.shape[0] != rows for array in inputs.values())):
            return rows, size, bytes_, None
        return rows, size, bytes_, () if self._one_tail else tuple([array.shape[1:] for array in inputs.values()])


def _text_bytes(array: Array) -> int:
    """What numpy does not count: it sees the pointers only."""
    return sum(map(len, array.flat)) if array.dtype == object else 0


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
