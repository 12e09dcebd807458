"""Where the outside world comes in: the wall clock and the operating system's files. The simulator stands in the doors.

Everything else that a process must not find out by itself (the monotonic clock, chance, ids, wires, the driver, the
gateway, the store) is given to our code as an argument, or is the event loop's. So these few modules of the standard
library, as these few modules of ours see them, are all that is replaced.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from edge_agent.reconcile import crew
from edge_agent.state import pages
from mesh import clock, files, link_core
from tests.sim.disk import Files, Temporary
from tests.sim.processes import current

EPOCH_S = 1_800_000_000.0  # what the wall clocks show when a run begins
DESIRED_BYTES_MAX = 900  # so that a desired state of two positions travels in two pieces
START_WITHIN_S = 40.0  # far above what a simulated host takes to load, and below a run's length


class WallClock:
    """The `time` of mesh.clock: each process sees its machine's."""

    def time(self) -> float:
        process = current()
        return EPOCH_S + asyncio.get_running_loop().time() + (process.wall_skew_s() if process else 0.0)


@contextmanager
def simulated() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch.object(clock, "time", WallClock()))
        stack.enter_context(patch.object(files, "os", Files()))
        stack.enter_context(patch.object(files, "tempfile", Temporary()))
        stack.enter_context(patch.object(pages, "os", Files()))
        stack.enter_context(patch.object(link_core, "DESIRED_BYTES_MAX", DESIRED_BYTES_MAX))
        stack.enter_context(patch.object(crew, "START_WITHIN_S", START_WITHIN_S))
        yield
