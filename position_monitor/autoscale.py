"""How many replicas a position has: a pure function of what it has now and what its spec allows.

The spec has bounds and no targets yet, so a position keeps the number it has and starts with the least. A target (calls
waiting, missed deadlines) comes in as one more argument that moves `current` before it is held inside the bounds.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Replicas that the spec allows, both inclusive."""

    replicas_min: int
    replicas_max: int

    def __post_init__(self) -> None:
        assert 1 <= self.replicas_min <= self.replicas_max


@dataclass(frozen=True, slots=True)
class Scale:
    """A number of replicas, and why, in words that follow `serves with`."""

    replicas: int
    reason: str


def scale(current: int, bounds: Bounds) -> Scale:
    """Replicas for one version: `current` (0: none yet) held inside `bounds`."""
    replicas = max(bounds.replicas_min, min(current, bounds.replicas_max))
    counted = f"{replicas} replica" if replicas == 1 else f"{replicas} replicas"
    if bounds.replicas_min == bounds.replicas_max:
        return Scale(replicas, counted)
    if replicas == bounds.replicas_min:
        return Scale(replicas, f"{counted}, the least that its spec allows")
    if replicas == bounds.replicas_max:
        return Scale(replicas, f"{counted}, the most that its spec allows")
    return Scale(replicas, f"{counted}, inside {bounds.replicas_min}..{bounds.replicas_max}")
