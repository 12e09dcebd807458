"""The life of one model version in a host, from its first byte to its last call. Pure.

    LOADING ──▶ WARMING ──▶ READY ──▶ DRAINING
       │           │          │          ▲
       │           └──────────┼──────────┤      told to stop, at any time before the end
       ▼                      ├──▶ UNLOADED     told to, by hand; the others of the host live on
       └──────▶ FAILED ◀──────┘

READY is proven: sample inputs have gone through the model. DRAINING, UNLOADED and FAILED are ends: the next version,
and the next try, begins a new life, at a position in a new process.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class State(StrEnum):
    LOADING = "LOADING"
    WARMING = "WARMING"
    READY = "READY"
    DRAINING = "DRAINING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


_NEXT: dict[State, frozenset[State]] = {
    State.LOADING: frozenset({State.WARMING, State.DRAINING, State.FAILED}),
    State.WARMING: frozenset({State.READY, State.DRAINING, State.FAILED}),
    State.READY: frozenset({State.DRAINING, State.UNLOADED, State.FAILED}),
    State.DRAINING: frozenset(),
    State.UNLOADED: frozenset(),
    State.FAILED: frozenset(),
}

REPOSITORY_STATES: dict[State, str] = {
    State.LOADING: "LOADING",
    State.WARMING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.UNLOADED: "UNAVAILABLE",
    State.FAILED: "UNAVAILABLE",
}
"""What the Open Inference Protocol's repository index calls our states."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Where a model version is. reason: UPPER_SNAKE, message: one sentence; empty unless it failed or was unloaded."""

    state: State = State.LOADING
    reason: str = ""
    message: str = ""

    @property
    def serves(self) -> bool:
        """Whether new calls are let in."""
        return self.state is State.READY

    @property
    def ended(self) -> bool:
        return not _NEXT[self.state]

    def warming(self) -> "Lifecycle":
        return self._to(State.WARMING)

    def ready(self) -> "Lifecycle":
        return self._to(State.READY)

    def draining(self) -> "Lifecycle":
        """Stopping is asked for by others, at any time and maybe twice: where it is over already, nothing changes."""
        return self if self.ended else self._to(State.DRAINING)

    def unloaded(self) -> "Lifecycle":
        """One that has failed, or goes with its host, has nothing to unload: nothing changes."""
        if self.ended:
            return self
        return replace(self._to(State.UNLOADED), reason="UNLOADED", message="unloaded")

    def failed(self, reason: str, message: str) -> "Lifecycle":
        return replace(self._to(State.FAILED), reason=reason, message=message)

    def _to(self, state: State) -> "Lifecycle":
        assert state in _NEXT[self.state], f"{self.state} cannot become {state}"
        return replace(self, state=state)


def worst(lives: list[Lifecycle]) -> Lifecycle:
    """The one that speaks for all models of a host: what keeps it from being ready, the gravest first.

    A model that was unloaded keeps nobody from anything, unless there is no other.
    """
    gravity = [State.FAILED, State.DRAINING, State.LOADING, State.WARMING, State.READY, State.UNLOADED]
    return min(lives, key=lambda life: gravity.index(life.state))
