"""Between an edge server and the control planes messages are late, lost with their connection, or held back."""

from typing import ClassVar

from tests.sim.faults.family import Faults
from tests.sim.network import Weather


class NetworkFaults(Faults):
    weights: ClassVar = {
        "partition": 5,
        "spoil_network": 3,
        "cut_connection": 3,
    }

    def mend(self) -> None:
        for edge in self._world.edges:
            edge.network.weather = Weather()

    def partition(self) -> None:
        weather = self._edge.network.weather
        up, down = self._rng.choice([(True, True), (True, False), (False, True)])
        weather.block(up=up, down=down)
        self._after(self._for(60.0), lambda: weather.block(up=False, down=False))

    def spoil_network(self) -> None:
        weather = self._edge.network.weather
        weather.delay_s, weather.cut = self._rng.choice([0.2, 1.0, 5.0]), self._rng.choice([0.0, 0.02, 0.2])

        def mended() -> None:
            weather.delay_s, weather.cut = 0.05, 0.0

        self._after(self._for(40.0), mended)

    def cut_connection(self) -> None:
        """Of the next message."""
        weather = self._edge.network.weather
        weather.cut = 1.0
        self._after(0.5, lambda: setattr(weather, "cut", 0.0))
