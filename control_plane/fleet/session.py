"""One agent's stream, seen from the control plane (`mesh.link.ParentHandler`).

A session that a newer one has superseded may still have messages on the way: it is heard no more.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import structlog
from google.protobuf.message import DecodeError, Message

from control_plane.events import EVENTS_LOST, SOURCE
from control_plane.fleet import status as status_of
from control_plane.fleet import telling
from control_plane.fleet.rows import Observation
from control_plane.store import EventRow, Record
from control_plane.store.observed_rows import POSITION_REPORT, report_name, report_row
from control_plane.store.resources import DESIRED, EDGE_SERVER, POSITION, desired_name
from control_plane.store.text import is_key
from mesh import clock
from mesh.link import DesiredState, Item, ParentSession, Refusal
from mesh.times import timestamp
from waypost.api.control.v1.edge_server_pb2 import EdgeServerStatus
from waypost.api.control.v1.position_pb2 import PositionMetrics
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport, PositionReport
from waypost.errors import Denied, Invalid

if TYPE_CHECKING:
    from control_plane.fleet.fleet import Fleet

log = structlog.get_logger()

NAME_SHOWN = 100  # characters of a stranger's, in a message
UNHEARD_PACE_S = 60.0  # between two lines of the log about events of one session that were not kept

M = TypeVar("M", bound=Message)


class AgentSession:
    """edge_server: `edgeServers/{edge_server}`, as the certificate has it. issued: when that was signed.

    peer: where it comes from.
    """

    link: ParentSession
    """Set by whoever makes the session, before it is served."""

    def __init__(self, fleet: "Fleet", edge_server: str, issued: float, peer: str) -> None:
        self._fleet = fleet
        self.edge_server = edge_server
        self.issued = issued
        self.peer = peer
        self._told: DesiredState | None = None
        self._unheard = telling.Unheard()
        self._unheard_told_s = -math.inf
        self._lost_told = 0

    async def admit(self, hello: pb.Hello) -> int:
        if hello.identity != self.edge_server:
            raise Denied(
                "IDENTITY_MISMATCH",
                f"the agent says that it is {hello.identity!r}, its certificate is that of {self.edge_server}",
                "start the agent with the data directory of its own edge server",
            )
        if not telling.is_boot_id(hello.boot_id):
            raise Invalid("BAD_HELLO", "the agent's Hello names no process that could be told from others")
        return await self._fleet.enter(self, hello.boot_id, hello.epoch)

    async def desired(self) -> DesiredState:
        async with self._fleet.work:
            return await self._desired()

    async def _desired(self) -> DesiredState:
        record = await self._fleet.stores.records.read(desired_name(self.edge_server))
        if record is None:
            return self._told or self._never_planned()
        items = [Item(item.name, item.generation, item.body) for item in DESIRED.decode(record).upserts]
        await self._judge(status_of.sent(self._status, record.revision))
        self._told = DesiredState.of(self._fleet.stores.records.incarnation, record.revision, items)
        self._fleet.told.add(self.edge_server, self._told.items)
        return self._told

    async def may_prune(self, held: pb.Applied) -> bool:
        """What this very store has numbered before is a plan of its own. What another one has is somebody's to say."""
        incarnation = self._fleet.stores.records.incarnation
        if held.incarnation in ("", incarnation):
            return True
        record = await self._fleet.stores.records.read(self.edge_server)
        return record is not None and EDGE_SERVER.decode(record).confirmed_incarnation == incarnation

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            log.warning("item_refused", server=self.edge_server, item=refusal.name, why=refusal.error.message)
        await self._judge(status_of.accepted(self._status, version, refusals, now=clock.now()))

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None:
        if bad := [name for name in items if not is_key(report_name(self.edge_server, name))]:
            # Its row would wait with those of others, and none of them could be written.
            raise Invalid("BAD_STATUS", f"the agent reports on {bad[0][:NAME_SHOWN]!a}, which is no name")
        async with self._fleet.work:
            if self._is_current:
                await self._take_status(items, full)

    async def _take_status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None:
        own = items.get(self.edge_server)
        if own is not None:
            report = _decode(EdgeServerReport, own.body)
            await self._judge(status_of.reported(self._status, report, now=clock.now()))
        positions = {name: item for name, item in items.items() if name != self.edge_server}
        told = {name: item for name, item in positions.items() if item.body}
        await self._fleet.rows.put([self._observation(name, item) for name, item in told.items()])
        await self._forget([name for name in positions if name not in told], everything_but=told if full else None)

    async def metrics(self, samples: Sequence[bytes]) -> None:
        now = clock.now()
        for sample in samples:
            metrics = _decode(PositionMetrics, sample)
            if self._told is not None and metrics.name in self._told.items:  # nobody measures somebody else's positions
                self._fleet.figures.take(self.edge_server, metrics, now=now)
        await self._judge(status_of.heard(self._status, now=now))

    async def events(self, events: Sequence[pb.ChildEvent]) -> None:
        """Those that are not heard are taken like the others: said again they would be no better."""
        assert self.link.hello is not None
        boot = f"{self.edge_server}/{self.link.hello.boot_id}"
        own = await self._own({event.resource for event in events})
        heard = [event for event in events if event.resource in own and self._has_room()]
        await self._fleet.stores.events.append(
            [
                EventRow(
                    telling.time_of(event),
                    event.resource,
                    event.reason,
                    event.message,
                    telling.source_of(event),
                    key=f"{boot}/{event.sequence}",
                )
                for event in heard
            ]
            + self._lost(f"{boot}/lost/{events[0].sequence}")
        )
        foreign = sum(event.resource not in own for event in events)
        self._unheard.foreign += foreign
        self._unheard.too_many += len(events) - len(heard) - foreign
        self._tell_unheard(UNHEARD_PACE_S)

    async def link_changed(self, connected: bool) -> None:
        if not connected:
            self._tell_unheard(0.0)
        if connected:
            await self._judge(status_of.connected(self._status, now=clock.now()))
            self._fleet.show_interest(self.edge_server)
        elif self._fleet.leave(self):
            await self._fleet.judge(self.edge_server, status_of.link_lost(self._status, now=clock.now()))

    # ------------------------------------------------------------------------------------------------------------------

    def _never_planned(self) -> DesiredState:
        """Where this store has no plan. What the agent holds stands: that it shall hold nothing must be a plan.

        What it holds of another store is asked back, since that store's plans are no more; `may_prune` says whether it
        is meant. Until then the agent refuses, and the edge server says so.
        """
        assert self.link.hello is not None
        held, incarnation = self.link.hello.applied, self._fleet.stores.records.incarnation
        if held.incarnation in ("", incarnation):
            return DesiredState(held.incarnation, held.version, {}, held.hash)  # number and hash: nothing is sent
        return DesiredState.of(incarnation, 0, ())

    def _lost(self, key: str) -> list[EventRow]:
        """What the agent could not keep until it was heard; kept once, though it say so again in its next session."""
        lost, self._lost_told = self.link.events_lost - self._lost_told, self.link.events_lost
        if not lost or not self._has_room():
            return []
        message = f"{lost} events of its agent are lost: it was alone, and more happened than it keeps"
        return [EventRow(round(clock.now() * 1000), self.edge_server, EVENTS_LOST, message, SOURCE, key)]

    async def _own(self, resources: set[str]) -> set[str]:
        """Those of which this agent may speak (telling.py)."""
        own = self._told_of(resources)
        if own != resources and self._told is None:
            await self.desired()  # of what it holds it may speak at once
            own = self._told_of(resources)
        if own == resources:
            return own
        found = await self._fleet.stores.records.read_many(resources - own)
        return own | {name for name, record in found.items() if self._is_named_by(record)}

    def _told_of(self, resources: set[str]) -> set[str]:
        told = self._fleet.told
        return {name for name in resources if name == self.edge_server or told.has(self.edge_server, name)}

    def _is_named_by(self, record: Record) -> bool:
        if record.kind != POSITION.kind:
            return False
        spec = POSITION.decode(record).spec
        return self.edge_server in (spec.edge_server, *spec.on_disconnect.fallback_edge_servers)

    def _has_room(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if self._fleet.heard.wait_s(self.edge_server, now_s) > 0:
            return False
        self._fleet.heard.add(self.edge_server, 1, now_s)
        return True

    def _tell_unheard(self, pace_s: float) -> None:
        """To the log, no more often than every `pace_s`."""
        now_s = asyncio.get_running_loop().time()
        if self._unheard and now_s >= self._unheard_told_s + pace_s:
            foreign, too_many = self._unheard.foreign, self._unheard.too_many
            log.warning("events_not_kept", server=self.edge_server, foreign=foreign, too_many=too_many)
            self._unheard, self._unheard_told_s = telling.Unheard(), now_s

    @property
    def _is_current(self) -> bool:
        return self._fleet.speaks_for(self.edge_server, self)

    @property
    def _status(self) -> EdgeServerStatus:
        return self._fleet.status(self.edge_server)

    async def _judge(self, status: EdgeServerStatus) -> None:
        if self._is_current:
            await self._fleet.judge(self.edge_server, status)

    def _observation(self, position: str, item: pb.StatusItem) -> Observation:
        report = _decode(PositionReport, item.body)
        report.status.report_time.CopyFrom(timestamp(clock.now()))
        row = report_row(self.edge_server, position, report, self._fleet.owners.fence(self.edge_server))
        report.status.ClearField("report_time")
        return Observation(row, report.SerializeToString(deterministic=True))

    async def _forget(self, retracted: Sequence[str], *, everything_but: Mapping[str, object] | None) -> None:
        """Positions of which the agent says nothing any more."""
        gone = {report_name(self.edge_server, name) for name in retracted}
        if everything_but is not None:
            rows = await self._fleet.stores.observed.scan(POSITION_REPORT, f"{self.edge_server}/")
            kept = {report_name(self.edge_server, name) for name in everything_but}
            gone |= {row.name for row in rows} - kept
        if gone:
            await self._fleet.rows.delete(POSITION_REPORT, gone, fence=self._fleet.owners.fence(self.edge_server))


def _decode(kind: type[M], body: bytes) -> M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Invalid("BAD_STATUS", f"the agent sent a {kind.DESCRIPTOR.name} that cannot be read: {error}") from error
