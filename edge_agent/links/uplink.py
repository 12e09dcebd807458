"""Link 1, seen from the agent: desired state comes down and is written to the ledger, what is goes up.

Nothing here waits for the control plane: without it, positions run by the ledger, reports replace one another until
they can be sent, and events wait in a bounded ring.
"""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import structlog

from edge_agent.drivers.base import Fingerprint
from edge_agent.failure import Failure, condition
from edge_agent.links.commands import Commands
from edge_agent.position.assignments import read_assignment, sets_back
from edge_agent.position.changes import is_own, read_rules
from edge_agent.position.conditions import dated
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Solitude
from mesh import clock
from mesh.link import ChildLink, DesiredState, Dial, Item, Timing
from mesh.waiting import news_within
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.api.control.v1.edge_server_pb2 import Capacity
from waypost.api.link.v1 import command_pb2
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport, PositionReport
from waypost.errors import MeshError, Unavailable

log = structlog.get_logger()

DESCRIBE_EVERY_S = 30.0
DISK_STEP_BYTES = 256 << 20  # finer figures of the free disk would be news all the time
DISK_LOW_BYTES = 1 << 30  # less than a few model versions
SOURCE = "agent"
REMOTE = Timing()


class Uplink:
    """mesh.link.ChildHandler, and parts.Reports for the workers."""

    def __init__(self, ledger: Ledger, solitude: Solitude, *, edge_server: str, boot_id: str) -> None:
        """edge_server: full name."""
        self._ledger = ledger
        self._solitude = solitude
        self._edge_server = edge_server
        self._boot_id = boot_id
        self._link: ChildLink | None = None
        self.reports: dict[str, PositionReport] = {}
        """What was said last of each position, by full name. To be read only."""
        self._commands: Commands | None = None
        self._desired_changed: Callable[[], None] = lambda: None
        self._connected: Callable[[], None] = lambda: None
        self._interest: Callable[[frozenset[str], float], None] = lambda names, pace_s: None

    def open(
        self,
        dial: Dial,
        rng: random.Random,
        timing: Timing = REMOTE,
        refused: Callable[[MeshError], None] = lambda error: None,
        redirected: Callable[[str], None] = lambda address: None,
    ) -> None:
        """Gives it a control plane; without one everything that is said is dropped. refused, redirected: by it."""
        self._link = ChildLink(
            dial,
            self,
            identity=self._edge_server,
            boot_id=self._boot_id,
            rng=rng,
            held=self._ledger.desired,
            epoch=self._ledger.epoch,
            timing=timing,
            refused=refused,
            redirected=redirected,
            sets_back=sets_back,
        )

    def redial(self) -> None:
        """There is a better way to the control plane than the one that is used."""
        if self._link is not None:
            self._link.redial()

    def serve(
        self,
        commands: Commands,
        *,
        desired_changed: Callable[[], None],
        connected: Callable[[], None],
        interest: Callable[[frozenset[str], float], None],
    ) -> None:
        """Where what comes down goes."""
        self._commands = commands
        self._desired_changed, self._connected, self._interest = desired_changed, connected, interest

    async def run(self) -> None:
        """Dials for ever; cancel it to end."""
        assert self._link is not None
        await self._link.run()

    # -- what comes down (mesh.link.ChildHandler)

    def refuse(self, item: Item) -> MeshError | None:
        try:
            read_rules(item) if is_own(item) else read_assignment(item)
        except MeshError as error:
            return error
        return None

    async def keep(self, state: DesiredState) -> None:
        self._ledger.keep_desired(state)
        log.info("desired_state_accepted", version=state.version, positions=len(state.items))
        self._desired_changed()

    async def keep_epoch(self, epoch: int) -> None:
        self._ledger.keep_epoch(epoch)

    def interest(self, names: frozenset[str], pace_s: float) -> None:
        self._interest(names, pace_s)

    def command(self, command: command_pb2.Command) -> AsyncIterator[command_pb2.Result]:
        if self._commands is None:
            raise Unavailable("STARTING", "the agent is starting", "try again in a second")
        return self._commands.answer(command)

    def link_changed(self, connected: bool) -> None:
        log.info("control_plane_link", connected=connected)
        try:
            self._solitude.changed(connected=connected)
        except MeshError as error:  # it counts on from what was written down before
            log.error("solitude_not_kept", why=error.message, hint=error.hint)
        if connected:
            self._connected()

    # -- what goes up (parts.Reports)

    def report(self, position: str, report: PositionReport) -> None:
        self.reports[position] = report
        if self._link is not None:
            self._link.report(position, report.SerializeToString(deterministic=True))

    def retract(self, position: str) -> None:
        self.reports.pop(position, None)
        if self._link is not None:
            self._link.retract(position)

    def event(self, position: str, reason: str, message: str, source: str = SOURCE) -> None:
        if self._link is not None:
            now_ms = round(clock.now() * 1000)
            self._link.event(time_unix_ms=now_ms, resource=position, reason=reason, message=message, source=source)

    def sample(self, body: bytes) -> None:
        """Measured by a monitor: a serialized control.v1 PositionMetrics."""
        if self._link is not None:
            self._link.sample(body)

    def describe(self, report: EdgeServerReport) -> None:
        """This edge server, as it is now."""
        if self._link is not None:
            self._link.report(self._edge_server, report.SerializeToString(deterministic=True))


async def describe_for_ever(
    uplink: Uplink,
    describe: Callable[[], EdgeServerReport],
    data_dir: Path,
    ledger: Ledger,
    changed: asyncio.Event,
    besides: Callable[[], Sequence[Condition]],
) -> None:
    """Keeps the control plane informed of what changes: the free disk, the mode, and what `besides` says.

    What the disk did not take before is written as soon as it takes it.

    describe: all else. changed: set where it must be said at once.
    """
    before: Sequence[Condition] = ()
    while True:
        free_bytes = shutil.disk_usage(data_dir).free // DISK_STEP_BYTES * DISK_STEP_BYTES
        current = describe()
        current.capacity.disk_free_bytes = free_bytes
        changed.clear()
        ledger.catch_up()
        found = [
            condition("FollowsControlPlane", ledger.mode.restriction),
            condition("DiskReady", _disk_trouble(free_bytes)),
            condition("LedgerIntact", _ledger_trouble(ledger)),
            *besides(),
        ]
        before = dated(found, before, clock.now())
        current.conditions.extend(before)
        uplink.describe(current)
        await news_within(changed, DESCRIBE_EVERY_S)


def capacity(server: Fingerprint) -> Capacity:
    return Capacity(
        cpu_millis=server.cpu_millis,
        memory_bytes=server.memory_bytes,
        execution_providers=server.execution_providers,
        architecture=server.architecture,
    )


def _disk_trouble(free_bytes: int) -> Failure | None:
    if free_bytes >= DISK_LOW_BYTES:
        return None
    return Failure(
        "DISK_LOW",
        "less than 1 GiB is free where the agent keeps its data",
        "free space there: new versions cannot be fetched when it is full; what serves serves on",
    )


def _ledger_trouble(ledger: Ledger) -> Failure | None:
    if ledger.unwritten is not None:
        message = f"nothing can be changed here, as it cannot be written down: {ledger.unwritten.message}"
        return Failure("LEDGER_NOT_WRITTEN", message, ledger.unwritten.hint)
    if not ledger.damaged:
        return None
    return Failure(
        "LEDGER_DAMAGED",
        f"could not be read when the agent started, an older copy was used: {', '.join(ledger.damaged)}",
        "look after the disk; the damaged files lie beside the ledger as *.corrupt",
    )
