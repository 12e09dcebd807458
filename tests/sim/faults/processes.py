"""Agents, control planes and monitors are killed, stopped, or kept down."""

from typing import ClassVar

from tests.sim.edge import Edge
from tests.sim.faults.family import Faults
from tests.sim.plane import Plane

WRITES_MAX = 40  # a process that is to die at a write does so within so many


class ProcessFaults(Faults):
    weights: ClassVar = {
        "kill_agent": 3,
        "kill_plane": 3,
        "kill_at_a_write": 5,
        "kill_monitor": 2,
        "keep_agent_down": 1,
        "keep_plane_down": 2,
        "pause": 2,
    }

    def mend(self) -> None:
        for process in self._world.processes():
            process.writes_left = None
            process.resume()
        for machine in (*self._world.edges, *self._world.planes):
            machine.keeps_down = False
            machine.boot()

    def kill_agent(self) -> None:
        if (process := self._edge.process) is not None:
            process.kill()

    def kill_plane(self) -> None:
        if (process := self._plane.process) is not None:
            process.kill()

    def kill_at_a_write(self) -> None:
        processes = self._world.processes()
        if processes:
            self._rng.choice(processes).writes_left = self._rng.randint(0, WRITES_MAX)

    def kill_monitor(self) -> None:
        edge = self._edge
        if edge.monitors:
            edge.machine.end(self._rng.choice(sorted(edge.monitors)), "monitor")

    def keep_agent_down(self) -> None:
        self._keep_down(self._edge)

    def keep_plane_down(self) -> None:
        self._keep_down(self._plane)

    def _keep_down(self, machine: Edge | Plane) -> None:
        machine.keeps_down = True
        if machine.process is not None:
            machine.process.kill()

        def back() -> None:
            machine.keeps_down = False
            machine.boot()

        self._after(self._for(60.0), back)

    def pause(self) -> None:
        processes = self._world.processes()
        if processes:
            process = self._rng.choice(processes)
            process.pause()
            self._after(self._for(40.0), process.resume)
