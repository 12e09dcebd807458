"""What `test` asks of the process that it starts."""

from dataclasses import dataclass

TRIAL = "inference_host.workbench.trial"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Passed as JSON: that process begins with nothing else."""

    package: str
    """Absolute path."""
    scratch: str
    """An empty folder, the only one where it may write."""
    rtol: float
    atol: float
    compare: bool
    """With the outputs that samples expect; not where they are about to be recorded."""
    ends_at: float
    """When it will be ended, on the machine's monotonic clock; a moment before, it says where it is."""
