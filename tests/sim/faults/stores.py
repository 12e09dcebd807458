"""The database is busy, slow or away, or is lost and restored from a backup."""

from typing import ClassVar

from tests.sim.database import Database
from tests.sim.faults.family import Faults


class StoreFaults(Faults):
    weights: ClassVar = {
        "busy_database": 3,
        "back_up": 2,
        "restore": 2,
    }
    _backup: Database | None = None

    def mend(self) -> None:
        self._world.database.busy, self._world.database.slow_s = 0.0, 0.005

    def busy_database(self) -> None:
        """It may take a control plane with it, which then starts while it is busy."""
        process = self._plane.process
        if process is not None and self._rng.random() < 0.5:
            process.kill()
        database = self._world.database
        database.busy, database.slow_s = self._rng.choice([0.0, 0.2, 1.0]), self._rng.choice([0.005, 0.5])

        def mended() -> None:
            database.busy, database.slow_s = 0.0, 0.005

        self._after(self._for(20.0), mended)

    def back_up(self) -> None:
        self._backup = self._world.database.backup()

    def restore(self) -> None:
        """The database is lost, and with it what was asked since the last backup; all control planes start anew."""
        if self._backup is None:
            return
        for plane in self._world.planes:
            if plane.process is not None:
                plane.process.kill()
        incarnation = self._world.new_uuid()
        self._world.database.restore(self._backup, incarnation)
        self._world.witness.restored(incarnation)
