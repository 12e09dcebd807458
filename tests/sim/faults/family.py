"""What all faults share."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from tests.sim.edge import Edge
from tests.sim.plane import Plane

if TYPE_CHECKING:
    from tests.sim.world import World

Strike = Callable[[], None]


class Faults(ABC):
    """Those of one family. weights: how often each of them strikes, beside all others."""

    weights: ClassVar[Mapping[str, int]]

    def __init__(self, world: "World", rng: random.Random) -> None:
        self._world = world
        self._rng = rng

    def strikes(self) -> list[tuple[Strike, int]]:
        return [(getattr(self, name), weight) for name, weight in self.weights.items()]

    @abstractmethod
    def mend(self) -> None:
        """Fair weather."""

    @property
    def _edge(self) -> Edge:
        return self._rng.choice(self._world.edges)

    @property
    def _plane(self) -> Plane:
        return self._rng.choice(self._world.planes)

    def _after(self, seconds: float, mend: Strike) -> None:
        asyncio.get_running_loop().call_later(seconds, mend)

    def _for(self, longest_s: float) -> float:
        return self._rng.uniform(0.0, longest_s) ** 2 / longest_s  # often short, seldom long
