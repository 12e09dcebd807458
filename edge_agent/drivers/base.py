"""The seam to whatever runs monitors and inference hosts: processes here, containers and pods later.

The agent says how the processes of one position should be (`Lineup`), the driver makes it so and tells what is
(`Observed`). Both are whole states: applying the same lineup twice does nothing, and observing needs no memory.
Restarts are the agent's: it leaves a replica whose back-off is not over among the `resting`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from edge_agent.failure import Failure
from edge_agent.model_version import NO_VERSION, Version

MONITOR = "monitor"
"""Id of a position's monitor among the observed; replicas are called `r-...`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica may use; 0 means no limit."""

    cpu_millis: int = 0
    memory_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.cpu_millis or self.memory_bytes)


@dataclass(frozen=True, slots=True)
class HostSet:
    """One version at one position. A driver may treat it as single replicas or as one deployment."""

    version: Version
    variant: str
    package: Path
    """Directory of the unpacked version, with its manifest.json. `variant` says which version of the software."""
    serve_as: str
    limits: Limits = Limits()
    replicas: tuple[str, ...] = ()
    """Ids of those that shall run."""
    resting: tuple[str, ...] = ()
    """Ids that stay, but are not started now. A driver that restarts by itself may ignore the difference."""


class MonitorMode(StrEnum):
    RUN = "run"
    REST = "rest"
    """It stays, but is not started now."""
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class TcpLinks:
    """Monitor and hosts dial their parents over mutual TLS, with what lies in the position's `identities`."""

    edge_server: str
    """Id: all certificates are named for it."""
    agent: str
    """host:port where the monitor dials."""
    monitor: str
    """host:port where hosts dial."""
    monitor_listen: str
    """ip:port where the monitor listens for them."""


@dataclass(frozen=True, slots=True)
class Lineup:
    """Everything that shall run at one position, and nothing else there."""

    uid: str
    position: str
    short: str
    hosts: tuple[HostSet, ...] = ()
    monitor: MonitorMode = MonitorMode.STOP
    monitor_software: str = ""
    """Version of the software that the monitor runs. One that runs another is drained; it may be started then."""
    links: TcpLinks | None = None
    """None: on Unix sockets."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A replica or a monitor that this driver started, running or ended."""

    id: str
    """A replica's id, or MONITOR."""
    running: bool
    draining: bool = False
    version: Version = NO_VERSION
    variant: str = ""
    starts: int = 1
    """Times that it was started."""
    started_s: float = 0.0
    """Unix seconds of the last start."""
    pid: int = 0
    """0 where the driver has none."""
    address: str = ""
    """Of a host: gRPC and HTTP/1.1."""
    failure: Failure | None = None
    """Of the last start, where it ended by itself."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What this server offers."""

    cpu_millis: int
    memory_bytes: int
    architecture: str
    execution_providers: tuple[str, ...]
    driver_version: str


class Driver(Protocol):
    """Runs the processes of positions.

    Promises (tests/contract/driver_suite.py):
    - `apply` is idempotent: what already runs as asked is left alone. It returns when accepted, not when ready;
    - what is not in the lineup of its position is drained: asked to end, given the grace, then gone without a trace;
    - what was started outlives this object and its process, and is observed by the next one;
    - only what a driver of this agent started is ever observed or touched.
    """

    name: str

    def fingerprint(self) -> Fingerprint: ...

    def positions(self) -> frozenset[str]:
        """uids of which anything is here, running or ended."""

    def observe(self, uid: str) -> Sequence[Observed]:
        """All of one position, sorted by id."""

    def warm_up(self) -> None:
        """Prepares for the first `apply`, which need not wait for it."""

    def on_change(self, wake: Callable[[str], None]) -> None:
        """From now on `wake(uid)` is called when what `observe(uid)` says may have changed."""

    async def apply(self, lineup: Lineup, *, grace_s: float) -> None:
        """Makes this, and nothing else of ours, run at the position.

        A start that fails is observed as an end. Raises: Precondition(LIMITS_UNSUPPORTED) before anything is touched;
        Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED).
        """

    async def kill(self, uid: str, id_: str, why: Failure) -> None:
        """Ends one that does not answer any more, without grace; it is observed as ended for this reason."""

    async def logs(self, uid: str, tail_lines: int) -> dict[str, str]:
        """The last lines of each, by id."""

    async def close(self) -> None:
        """Lets go of everything; what runs goes on running."""
