"""Sequences: whose they are, which step may run, what it meets, and when all of it is forgotten."""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference_host.serving.sequences import NEVER, Sequences
from inference_host.values.calls import Key, Place, SequenceLimits
from waypost.errors import Invalid, MeshError, Unavailable

IDLE_S = 10.0
ANN: Key = (("credentials/1", "ann"), 7)
BOB: Key = (("credentials/2", "bob"), 7)


def fresh(sequences_max: int = 2) -> Sequences[str, list[str]]:
    return Sequences(SequenceLimits(sequences_max, IDLE_S))


def begin(sequences: Sequences[str, list[str]], key: Key, name: str, *, end: bool = False) -> list[str]:
    """The first step of a sequence: taken in, and running."""
    place = Place(key, start=True, end=end)
    assert sequences.refusal(place, 0.0) is None
    sequences.join(name, place, 0.0)
    memory = sequences.begin(key, [name])
    assert memory is not None
    return memory


def refusal(sequences: Sequences[str, list[str]], place: Place, now: float = 0.0) -> MeshError:
    refused = sequences.refusal(place, now)
    assert refused is not None
    return refused


def test_equal_ids_of_two_callers_are_two_sequences() -> None:
    sequences = fresh()
    assert begin(sequences, ANN, "a") is not begin(sequences, BOB, "b")
    sequences.ended(ANN, 0.0, kept=True)
    sequences.ended(BOB, 0.0, kept=False)
    assert dict(sequences.memories) == {ANN: ["a"]}


def test_a_number_and_its_digits_are_two_sequences() -> None:
    sequences = fresh()
    begin(sequences, ((), 7), "number")
    assert isinstance(refusal(sequences, Place(((), "7"), start=False, end=False)), Invalid)


def test_a_step_of_nothing_is_refused_as_stock_servers_refuse_it() -> None:
    refused = refusal(fresh(), Place(ANN, start=False, end=True))
    assert isinstance(refused, Invalid)
    assert refused.reason == "UNKNOWN_SEQUENCE"
    assert "sequence_start" in refused.message


def test_one_too_many_is_refused_until_another_has_gone() -> None:
    sequences = fresh(1)
    begin(sequences, ANN, "a")
    bobs = Place(BOB, start=True, end=False)
    assert isinstance(refusal(sequences, bobs), Unavailable)
    assert sequences.refusal(Place(ANN, start=True, end=False), 0.0) is None, "one that begins anew takes no more room"
    sequences.ended(ANN, 0.0, kept=True)
    assert refusal(sequences, bobs, IDLE_S - 1).reason == "TOO_MANY_SEQUENCES"
    assert sequences.refusal(bobs, IDLE_S) is None


def test_one_with_a_step_under_way_is_not_idle_however_long_it_takes() -> None:
    sequences = fresh()
    begin(sequences, ANN, "a")
    assert sequences.next_expiry() == NEVER
    sequences.expire(1e9)
    sequences.ended(ANN, 1e9, kept=True)
    assert sequences.next_expiry() == 1e9 + IDLE_S


@pytest.mark.parametrize("what", ["start", "end"])
def test_a_start_or_an_end_that_never_runs_forgets_in_its_turn(what: str) -> None:
    sequences = fresh()
    before = begin(sequences, ANN, "a")
    for name in ("b", "gone", "c"):
        flags = {"start": name == "gone" and what == "start", "end": name == "gone" and what == "end"}
        sequences.join(name, Place(ANN, **flags), 0.0)
    sequences.leave("gone", ANN)
    sequences.ended(ANN, 0.0, kept=True)
    assert sequences.begin(ANN, []) is before, "the step before it is not concerned"
    sequences.ended(ANN, 0.0, kept=True)
    assert sequences.begin(ANN, []) is None, "the step behind it must not meet what was there before"
    sequences.ended(ANN, 0.0, kept=False)
    assert len(sequences) == 0


@dataclass(eq=False)
class Step:
    place: Place
    fate: str = "waits"
    """waits, runs, left, kept or lost."""
    memory: list[int] = field(default_factory=list)


class Laws(RuleBasedStateMachine):
    """Against the plainest of all implementations: what a step meets follows from the story of all steps before it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.sequences: Sequences[Step, list[int]] = Sequences(SequenceLimits(3, IDLE_S))
        self.stories: dict[Key, list[Step]] = {}
        self.touched: dict[Key, float] = {}

    def remembered(self, key: Key, before: int | None = None) -> list[int] | None:
        """What the steps of a story, or its first `before`, have left."""
        memory: list[int] | None = None
        for step in self.stories.get(key, [])[:before]:
            if step.fate in ("runs", "kept", "lost") and step.place.start:
                memory = step.memory
            if step.fate == "lost" or step.place.end or (step.fate == "left" and step.place.start):
                memory = None
        return memory

    def under_way(self, key: Key) -> list[Step]:
        return [step for step in self.stories.get(key, []) if step.fate in ("waits", "runs")]

    def alive(self, key: Key) -> bool:
        return bool(self.under_way(key)) or self.remembered(key) is not None

    def forget(self) -> None:
        for key in [*self.stories]:
            idle = not self.under_way(key) and self.touched[key] + IDLE_S <= self.now
            if idle or not self.alive(key):
                del self.stories[key]

    @rule(owner=st.sampled_from("ab"), id_=st.integers(1, 2), start=st.booleans(), end=st.booleans())
    def arrives(self, owner: str, id_: int, start: bool, end: bool) -> None:
        self.forget()
        place = Place(((owner,), id_), start, end)
        refused = self.sequences.refusal(place, self.now)
        if place.key in self.stories:
            assert refused is None
        elif not start:
            assert isinstance(refused, Invalid)
        else:
            assert (refused is None) == (len(self.stories) < 3)
        if refused is None:
            step = Step(place)
            self.sequences.join(step, place, self.now)
            self.stories.setdefault(place.key, []).append(step)
            self.touched[place.key] = self.now

    def waiting(self) -> list[Key]:
        return [key for key in self.stories if self.first(key) is not None]

    def first(self, key: Key) -> Step | None:
        """The next to run, by its story."""
        steps = self.under_way(key)
        return steps[0] if steps and steps[0].fate == "waits" else None

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def begins(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.waiting()))
        step = self.first(key)
        assert step is not None
        expected = step.memory if step.place.start else self.remembered(key, self.stories[key].index(step))
        assert self.sequences.begin(key, step.memory) is expected
        step.fate = "runs"

    @precondition(lambda self: any(step.fate == "runs" for story in self.stories.values() for step in story))
    @rule(data=st.data(), kept=st.booleans())
    def ends(self, data: st.DataObject, kept: bool) -> None:
        running = [step for story in self.stories.values() for step in story if step.fate == "runs"]
        step = data.draw(st.sampled_from(running))
        key = step.place.key
        met = self.remembered(key, self.stories[key].index(step) + 1)
        kept = kept and (step.place.start or met is not None)  # a step that met nothing leaves nothing
        self.sequences.ended(key, self.now, kept=kept)
        step.fate = "kept" if kept else "lost"
        self.touched[key] = self.now
        self.forget()

    @precondition(lambda self: any(step.fate == "waits" for story in self.stories.values() for step in story))
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        waiting = [step for story in self.stories.values() for step in story if step.fate == "waits"]
        step = data.draw(st.sampled_from(waiting))
        self.sequences.leave(step, step.place.key)
        step.fate = "left"
        if not self.alive(step.place.key):
            del self.stories[step.place.key]

    @rule(seconds=st.sampled_from([1.0, IDLE_S / 2, IDLE_S]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.sequences.expire(self.now)
        self.forget()

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        assert len(self.sequences) == len(self.stories)
        for key in self.stories:
            assert self.sequences.first(key) is self.first(key)

    @invariant()
    def what_is_idle_has_an_end(self) -> None:
        idle = [self.touched[key] + IDLE_S for key in self.stories if not self.under_way(key)]
        assert self.sequences.next_expiry() == min(idle, default=NEVER)


TestLaws = Laws.TestCase
TestLaws.settings = settings(max_examples=200, stateful_step_count=30)
