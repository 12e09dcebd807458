"""Sequences of calls that a model answers with what it remembers of the calls before. Pure: `now` is an argument.

A template that keeps state never knows who called it, nor over which connection: a gateway shares connections between
xApps. What it knows is which sequence a call is a step of (Triton's sequence extension: `sequence_id`,
`sequence_start`, `sequence_end`). `Sequences` says what that means:

    key = (owner, id)     a sequence belongs to who began it: the credential and the client name of his token. Equal ids
                          of two callers are two sequences
    order                 the steps of a sequence run one after the other, in the order of their arrival; those of
                          different sequences may run at the same time
    start                 what was remembered under the key is forgotten, and a new memory begins
    end                   the memory is forgotten after this step
    no such sequence      a step that does not start one is refused: on arrival where nothing of that key is known, else
                          in its turn

A step that was taken in takes its effect in its turn, whatever comes of it: where a start or an end expires or is
withdrawn while it waits, the sequence is forgotten there all the same, and no later step can meet a memory that it did
not expect. A step in between that never runs changes nothing.

A step that ran and failed ends its sequence, because nobody knows what it left of the state. One that the model
*refused* (`Invalid` and other errors that are not its own) leaves the state as it is; at the start there is none yet.

Nothing stays for ever: a sequence that has neither steps nor had one for `idle_s` is forgotten, and there are at most
`sequences_max` of them.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Generic, TypeVar

from inference_host.values.calls import Key, Place, SequenceLimits
from waypost.errors import Invalid, MeshError, Unavailable

NEVER = float("inf")

M = TypeVar("M")
S = TypeVar("S")


@dataclass(slots=True, eq=False)
class _Line(Generic[S, M]):
    """A sequence and its steps."""

    steps: "deque[tuple[S, Place] | None]" = field(default_factory=deque)
    """Those that wait, in their order. None: one stood there that starts or ends the sequence, and will never run."""
    running: Place | None = None
    memory: M | None = None
    since: float = 0.0
    """When it last had a step."""


class Sequences(Generic[S, M]):
    """Of one model version. S: what stands for a step. M: what is remembered."""

    def __init__(self, limits: SequenceLimits) -> None:
        self._limits = limits
        self._lines: OrderedDict[Key, _Line[S, M]] = OrderedDict()
        """Those longest without a step first."""

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def memories(self) -> Mapping[Key, M]:
        """What is remembered."""
        return {key: line.memory for key, line in self._lines.items() if line.memory is not None}

    # -- steps

    def refusal(self, place: Place, now: float) -> MeshError | None:
        """Why a step cannot be taken in: Invalid(UNKNOWN_SEQUENCE), Unavailable(TOO_MANY_SEQUENCES)."""
        self.expire(now)
        if place.key in self._lines:
            return None
        if not place.start:
            return unknown(place)
        if len(self._lines) >= self._limits.sequences_max:
            return _too_many(self._limits)
        return None

    def join(self, step: S, place: Place, now: float) -> None:
        """A step that was not refused waits from now on."""
        line = self._lines.get(place.key)
        if line is None:
            assert place.start
            line = self._lines[place.key] = _Line()
        line.steps.append((step, place))
        self._touch(place.key, line, now)

    def first(self, key: Key) -> S | None:
        """The next step of a sequence; None where one runs, or none waits."""
        line = self._lines.get(key)
        if line is None or line.running is not None or not line.steps:
            return None
        entry = line.steps[0]
        assert entry is not None
        return entry[0]

    def begin(self, key: Key, fresh: M) -> M | None:
        """Its first step begins to run. What it remembers: `fresh` where it starts the sequence, None for nothing."""
        line = self._lines[key]
        entry = line.steps.popleft()
        assert entry is not None
        assert line.running is None, "the steps of a sequence run one after the other"
        line.running = entry[1]
        if line.running.start:
            line.memory = fresh
        return line.memory

    def ended(self, key: Key, now: float, *, kept: bool) -> None:
        """The step that ran has ended. kept: whether it left a state that the next one can go on with."""
        line = self._lines[key]
        assert line.running is not None
        if line.running.end or not kept:
            line.memory = None
        line.running = None
        self._touch(key, line, now)
        self._settle(key, line)

    def leave(self, step: S, key: Key) -> None:
        """A step that waits will never run: it has expired or was withdrawn. Nothing happens where it does not wait."""
        line = self._lines.get(key)
        if line is None:
            return
        for at, entry in enumerate(line.steps):
            if entry is not None and entry[0] is step:
                if entry[1].start or entry[1].end:
                    line.steps[at] = None
                else:
                    del line.steps[at]
                self._settle(key, line)
                return

    # -- time

    def expire(self, now: float) -> None:
        """Forgets what has been idle for too long."""
        idle_s = self._limits.idle_s
        for key in [*takewhile(lambda key: self._lines[key].since + idle_s <= now, self._idle())]:
            del self._lines[key]

    def next_expiry(self) -> float:
        """When something is to be forgotten, unless it gets a step before; NEVER where nothing is idle."""
        first = next(self._idle(), None)
        return NEVER if first is None else self._lines[first].since + self._limits.idle_s

    def _idle(self) -> Iterator[Key]:
        """Sequences without steps, those longest so first."""
        return (key for key, line in self._lines.items() if line.running is None and not line.steps)

    def _settle(self, key: Key, line: _Line[S, M]) -> None:
        """Passes the places of steps that will never run, and goes where nothing is left."""
        while line.running is None and line.steps and line.steps[0] is None:
            line.steps.popleft()
            line.memory = None
        if line.running is None and not line.steps and line.memory is None:
            del self._lines[key]

    def _touch(self, key: Key, line: _Line[S, M], now: float) -> None:
        line.since = now
        self._lines.move_to_end(key)


def unknown(place: Place) -> Invalid:
    """For a step of a sequence of which nothing is remembered."""
    return Invalid(
        "UNKNOWN_SEQUENCE",
        f"sequence {place.key[1]!r} is not known here: its first request must set sequence_start",
        "begin it anew; sequences are forgotten when a step failed, when they are idle, and when the model is replaced",
    )


def _too_many(limits: SequenceLimits) -> Unavailable:
    return Unavailable(
        "TOO_MANY_SEQUENCES",
        f"{limits.sequences_max} sequences are remembered, which is all that this model allows",
        f"end those that are over (sequence_end); idle ones are forgotten after {limits.idle_s:g} s",
        retry_after_ms="1000",
    )
