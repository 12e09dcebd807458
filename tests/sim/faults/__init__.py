"""What goes wrong, one thing at a time and many at once. Each fault mends itself after a while; fair weather mends all.

Nothing here knows what our code does: faults happen to processes, networks, machines and the database.
"""

import random
from typing import TYPE_CHECKING

from tests.sim.faults.machines import MachineFaults
from tests.sim.faults.networks import NetworkFaults
from tests.sim.faults.processes import ProcessFaults
from tests.sim.faults.stores import StoreFaults

if TYPE_CHECKING:
    from tests.sim.world import World


class AllFaults:
    def __init__(self, world: "World", rng: random.Random) -> None:
        self._book, self._rng = world.witness.book, rng
        kinds = (ProcessFaults, NetworkFaults, MachineFaults, StoreFaults)
        self._families = [kind(world, rng) for kind in kinds]
        strikes = [each for family in self._families for each in family.strikes()]
        self._strikes = [strike for strike, _ in strikes]
        self._weights = [weight for _, weight in strikes]

    def strike(self) -> None:
        (strike,) = self._rng.choices(self._strikes, self._weights)
        self._book.note(f"fault: {strike.__name__}")
        strike()

    def mend(self) -> None:
        """Fair weather."""
        for family in self._families:
            family.mend()
