"""Tells what is true of one position: its status and events to the control plane, its orders to the monitor."""

import asyncio

import structlog

from edge_agent.failure import Failure
from edge_agent.position.assignments import Assignment
from edge_agent.position.endpoints import names_by_digest
from edge_agent.position.orders import orders_of
from edge_agent.position.picture import MonitorView, Picture
from edge_agent.position.record import Record, idempotent
from edge_agent.position.status import status_of
from edge_agent.reconcile.parts import Parts
from mesh import clock
from waypost.api.control.v1.position_pb2 import PositionState, PositionStatus
from waypost.api.link.v1.agent_link_pb2 import PositionReport

log = structlog.get_logger()

MONITOR_MISSED_S = 10.0  # one that is killed is back within two; it may be away so long before anybody is told


class Teller:
    """One per position."""

    def __init__(self, uid: str, parts: Parts) -> None:
        self._uid = uid
        self._parts = parts
        self._away_since_s: float | None = None
        """When the monitor was first seen away, on the event loop's clock; None while it is connected."""
        self._told: PositionStatus | None = None

    def monitor_view(self, position: str, failure: Failure | None) -> MonitorView:
        """As it is now. One that has failed and is being restarted is not missed at once."""
        if self._parts.monitors.connected(position):
            self._away_since_s = None
            return MonitorView(connected=True, failure=failure)
        now_s = asyncio.get_running_loop().time()
        if self._away_since_s is None:
            self._away_since_s = now_s
        return MonitorView(connected=False, missed=now_s >= self._away_since_s + MONITOR_MISSED_S, failure=failure)

    def next_look_s(self, now_s: float) -> float | None:
        """On the event loop's clock: when a monitor that is away will count as missed; None where none will."""
        if self._away_since_s is None or now_s >= self._away_since_s + MONITOR_MISSED_S:
            return None
        return self._away_since_s + MONITOR_MISSED_S

    def tell(self, assignment: Assignment, record: Record, picture: Picture) -> None:
        """Both sides; whoever has heard the same before hears nothing."""
        decision = self._parts.ledger.decision(self._uid)
        status = status_of(picture, self._told, clock.now())
        self._note_change(assignment.position, status)
        report = PositionReport(uid=self._uid, status=status, decision=decision)
        self._parts.reports.report(assignment.position, report)
        if assignment.wanted.deleting:
            return
        shown = names_by_digest(*(view.version for view in picture.hosts), record.good)
        orders = orders_of(
            assignment,
            picture,
            self._parts.router.live(self._uid),
            decision,
            shown,
            self._parts.server,
            idempotent=idempotent(record),
        )
        self._parts.monitors.post(assignment.position, orders)

    def _note_change(self, position: str, status: PositionStatus) -> None:
        before, self._told = self._told, status
        if before is not None and before.state == status.state:
            return
        name = PositionState.Name(status.state).removeprefix("POSITION_STATE_")
        log.info("position_state", position=position, state=name, why=status.message)
        if before is not None:
            was = PositionState.Name(before.state).removeprefix("POSITION_STATE_")
            self._parts.reports.event(position, "STATE_CHANGED", f"{was} -> {name}: {status.message}")
