"""What runs monitors and inference hosts.

`open_driver` chooses, `base.Driver` says what is promised.

    base       the seam
    process    processes of this machine
      unit     one of them, and its directory
      cgroups  its limits of CPU and memory
    fake       in memory, with knobs, for tests
"""

from typing import Literal

from edge_agent.drivers.base import Driver
from edge_agent.machine.layout import Layout


def open_driver(kind: Literal["process"], layout: Layout, *, log_level: str) -> Driver:
    """The driver of this name, with all that it started before. Imports only the chosen one."""
    match kind:
        case "process":
            from edge_agent.drivers.process import ProcessDriver

            return ProcessDriver(layout, log_level=log_level)
