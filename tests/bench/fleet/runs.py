"""One size: a new control plane with an application and a model, and a simulated fleet on it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from console.contexts import Context
from console.simulation.agent import SimulatedAgent
from console.simulation.figures import Stage
from console.simulation.machine import Meter
from console.simulation.stages import LINKS_CUT, Storm, Wishes, simulate
from tests.integration.control_plane_process import ControlPlaneProcess, control_plane
from tests.integration.uploaded import make_versions

APPLICATION = "projects/bench/applications/fleet"
STEADY_S = 60.0  # six heartbeats of everybody
KILLED = "control plane killed"


def run(agents: int, report: Callable[[Stage], None]) -> None:
    """All stages with so many agents; `report` hears of each as it ends. Raises: MeshError."""
    with TemporaryDirectory(prefix="waypost-fleet-") as temporary:
        directory = Path(temporary)
        with control_plane(directory / "control-plane") as plane:
            context = Context("bench", plane.api, plane.roots.decode(), plane.token)
            (version,) = make_versions(context, directory, APPLICATION, 1)
            wishes = Wishes(agents, model_version=version, duration_s=STEADY_S)
            storms = (LINKS_CUT, Storm(KILLED, _Killer(plane)))
            meter = Meter(plane.pid)
            asyncio.run(simulate(context, wishes, report, meter=meter, storms=storms, clean=False))


class _Killer:
    """SIGKILL, and a new process on the same data and the same addresses."""

    def __init__(self, plane: ControlPlaneProcess) -> None:
        self._plane = plane

    async def __call__(self, agents: Sequence[SimulatedAgent]) -> Meter:
        await asyncio.to_thread(self._plane.kill)
        await asyncio.to_thread(self._plane.start)
        return Meter(self._plane.pid)
