"""What passes between the faces and the data plane: plain values, no transport.

The values of every call are not frozen: a frozen dataclass sets each field through `object.__setattr__`, which for the
four of a call adds up to a third of what a small model takes. Nobody changes them once they are handed over.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import structlog

from inference_host.values.signature import Signature, TensorSpec
from inference_host.values.tensors import Array, Tensor
from mesh.metrics import Histogram
from waypost.errors import Internal, Invalid, MeshError, Unsupported

log = structlog.get_logger()

_UNSUPPORTED = ("classification", "shared_memory_region")
SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END = SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
"""Parameters of Triton's sequence extension."""
ID_CHARS_MAX = 256  # of a request: it is echoed
SEQUENCE_ID_CHARS_MAX = 128  # Triton's limit
TIMEOUT_US_MAX = 1 << 53  # 285 years; more cannot be added to a clock without losing it

Facts: TypeAlias = tuple[tuple[str, str], ...]
"""Who answered, as metadata or headers of a reply."""


Owner: TypeAlias = tuple[str, ...]
"""Who calls: the credential of his token, and what he calls himself. Empty where nobody is asked who he is."""
Key: TypeAlias = tuple[Owner, int | str]
"""Who began a sequence, and what he calls it."""
Withdraw: TypeAlias = Callable[[], object]
"""Says that nobody waits for the answer any more. Harmless after it was given."""


@dataclass(frozen=True, slots=True)
class SequenceLimits:
    """What a model remembers at most."""

    sequences_max: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Which step of which sequence a call is."""

    key: Key
    start: bool
    end: bool


class Form:
    """What callers repeat with every call: all of a request but its id and its values.

    Whoever reads requests keeps one for each that he has met, and hands it on with the calls that have it. The data
    plane hangs its `plan` for them there, so that it looks once at what never changes.
    """

    __slots__ = ("plan",)

    def __init__(self) -> None:
        self.plan: Any = None


@dataclass(slots=True)
class Call:
    """An inference request, decoded."""

    model: str
    version: str
    inputs: Sequence[Tensor]
    id: str = ""
    outputs: Sequence[str] = ()
    """Empty: all."""
    deadline: float | None = None
    """The transport's, on the data plane's clock; None: none."""
    parameters: Mapping[str, object] | None = None
    """Of the request. `timeout` (µs, from its arrival) is a second deadline; those of sequences are refused where the
    model keeps no state between calls; `priority` changes nothing: deadlines order the queue."""
    arrived: float | None = None
    """When its last byte was read, on the data plane's clock; None: when it is submitted."""
    form: Form | None = field(default=None, compare=False)
    """The same object for calls that differ in nothing but id, values, deadline and `arrived`; None: nobody knows."""
    owner: Owner = ()
    """Whose sequence it is a step of. Set where it may be one, that is with `parameters`."""


Timing: TypeAlias = tuple[float, float, float, float]
"""Where a call's time went, in seconds:

    queue      waiting for its turn
    batch      being put together with others, handed to a thread, and taken apart again
    compute    in the model
    total      from its arrival to its answer; more than the others together, which leave out that it is read
"""


@dataclass(slots=True, eq=False)
class Origin:
    """Who answers: the same object for all answers of a version, until the position's generation changes.

    model, version: ids of the real ones, whatever the caller called them.
    """

    model: str
    version: str
    facts: Facts = ()
    """The same as metadata or headers."""


@dataclass(slots=True, eq=False)
class Answer:
    """What a model answered."""

    origin: Origin
    id: str
    specs: tuple[TensorSpec, ...]
    """The outputs that were asked for: the same object for calls of one form."""
    arrays: Sequence[Array]
    """Theirs. They may be read until the answer has left, and belong to the host."""
    timing: Timing

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Specs and arrays in one."""
        pairs = zip(self.specs, self.arrays, strict=True)
        return tuple([Tensor(spec.name, spec.datatype, array) for spec, array in pairs])


Done: TypeAlias = Callable[[Answer | MeshError], object]
"""Hears how a call ended. Must not raise."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of a model."""

    name: str
    version: str
    platform: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Config:
    """How a model is run."""

    metadata: Metadata
    batch_rows_max: int
    """Rows that go together at most; 0 where only the rows of one call do."""
    batch_delay_us: int
    """How long calls are kept waiting for others."""
    instances: int
    """Runs at a time."""
    file: str
    """Name of the graph; empty for a template."""
    sequences: SequenceLimits | None = None
    """Of a model that keeps state; None: it keeps none."""

    @property
    def batching(self) -> bool:
        return self.batch_rows_max > 0


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something happened, and how long all of it took."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """Of the runs of one size. count: of runs."""

    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a model version since it was loaded, as Triton's statistics extension counts it.

    success, fail, queue and compute_*: count is of calls, and each call of a batch has taken the whole batch's time.
    """

    name: str
    version: str
    last_inference_ms: int
    """Unix time of the last answer; 0 before the first."""
    inference_count: int
    """Rows answered."""
    execution_count: int
    """Runs of the model."""
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: Mapping[int, RunStatistics]
    """By rows; above meter.ROWS_EXACT by the power of two below."""
    latency: Histogram
    """From arrival to answer; can be merged with those of other hosts."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the repository index."""

    name: str
    version: str
    state: str
    reason: str


def as_mesh_error(error: Exception) -> MeshError:
    """What a caller hears of an error: its own words, or none where it was not meant for callers."""
    if isinstance(error, MeshError):
        return error
    log.error("call_failed", exc_info=error)
    return Internal("INTERNAL", "internal error", "its traceback stands in the host's log")


def checked(call: Call, deadline: float, arrived: float) -> float:
    """What no plan has seen: its id and parameters. Returns when an answer is no longer wanted.

    deadline: the transport's word. Raises: Invalid(BAD_ID | BAD_PARAMETER).
    """
    if len(call.id) > ID_CHARS_MAX:
        raise Invalid("BAD_ID", f"the request's id has {len(call.id)} characters, at most {ID_CHARS_MAX} are allowed")
    parameters = call.parameters
    if not parameters:
        return deadline
    timeout_us = parameters.get("timeout")
    if not timeout_us:  # 0 is what clients send for none
        return deadline
    if type(timeout_us) is not int or not 0 < timeout_us <= TIMEOUT_US_MAX:
        raise _bad_parameter("timeout", timeout_us, "microseconds: a whole number above 0")
    return min(arrived + timeout_us / 1e6, deadline)


def place_of(call: Call) -> Place | None:
    """Which step of which sequence a call is; None where it names none: an id of 0 or "" is none, as with Triton.

    Raises: Invalid(BAD_PARAMETER).
    """
    parameters = call.parameters or {}
    id_ = parameters.get(SEQUENCE_ID)
    flags = [parameters.get(name) or False for name in (SEQUENCE_START, SEQUENCE_END)]
    for name, flag in zip((SEQUENCE_START, SEQUENCE_END), flags, strict=True):
        if type(flag) is not bool:
            raise _bad_parameter(name, flag, "true or false")
        if flag and not id_:
            raise Invalid("BAD_PARAMETER", f"{name} is set and sequence_id is not", "say which sequence is meant")
    if not id_:
        return None
    if type(id_) is not int and not (isinstance(id_, str) and len(id_) <= SEQUENCE_ID_CHARS_MAX):
        raise _bad_parameter(SEQUENCE_ID, id_, f"a whole number, or text of at most {SEQUENCE_ID_CHARS_MAX} characters")
    return Place((call.owner, id_), *map(bool, flags))


def refuse_sequence(call: Call) -> None:
    """Raises: Unsupported(UNSUPPORTED_PARAMETER) where a call is a step of a sequence, to a model that knows none."""
    for name in SEQUENCE:
        if (call.parameters or {}).get(name):
            raise Unsupported("UNSUPPORTED_PARAMETER", f"{name}: the model keeps nothing from one call to the next")


def refuse_unsupported(tensor: str, parameters: Mapping[str, object]) -> None:
    """Raises: Unsupported(UNSUPPORTED_PARAMETER) where ignoring a tensor's parameter would change the answer."""
    for parameter in _UNSUPPORTED:
        if parameter in parameters:
            raise Unsupported("UNSUPPORTED_PARAMETER", f"tensor {tensor!r}: {parameter} is not supported here")


def _bad_parameter(name: str, value: object, expected: str) -> Invalid:
    return Invalid("BAD_PARAMETER", f"{name} is {str(value)[:64]!r}, expected is {expected}")
