"""Link 2, seen from the agent: one session per position monitor, over a Unix socket that only we may open.

Down go orders, whenever something of them has changed; up come decisions. A decision is written to the ledger before
anything follows from it, and comes back with the next orders: that is how the monitor knows that it counts, and how
one that starts again goes on. What a monitor measures travels on to the control plane as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from edge_agent.assignments import read_decision
from edge_agent.ledger import Ledger
from mesh.link import LOCAL, DesiredState, Item, ParentSession, Refusal, ServerWire, Sessions
from waypost.api.link.v1 import link_pb2, monitor_link_pb2_grpc
from waypost.api.link.v1.monitor_link_pb2 import MonitorReport, PositionOrders
from waypost.errors import Invalid, NotFound

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MonitorEars:
    """Where what monitors say goes."""

    wake: Callable[[str], None]
    """The position's decision or its monitor's connection has changed. Full name."""
    sample: Callable[[bytes], None]
    """Measured: a serialized control.v1 PositionMetrics."""
    event: Callable[[str, str, str], None]
    """Full name, reason, message."""


class Monitors(monitor_link_pb2_grpc.MonitorLinkServiceServicer):
    """Serves MonitorLinkService; knows a position from its first orders on.

    incarnation: of this process. Its numbers are compared with no others, so they need not survive it.
    """

    def __init__(self, ledger: Ledger, *, incarnation: str, software_version: str) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._software_version = software_version
        self._ears = MonitorEars(lambda position: None, lambda sample: None, lambda position, reason, message: None)
        self._items: dict[str, Item] = {}
        self._uids: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._sessions = Sessions()
        self._interest: tuple[frozenset[str], float] = (frozenset(), 0.0)

    def listen(self, ears: MonitorEars) -> None:
        """From now on `ears` hear what monitors say."""
        self._ears = ears

    # -- for the workers (parts.MonitorLinks)

    def post(self, position: str, orders: PositionOrders) -> None:
        body = orders.SerializeToString(deterministic=True)
        before = self._items.get(position)
        if before is not None and before.body == body:
            return
        self._items[position] = Item(position, before.generation + 1 if before else 1, body)
        self._uids[position] = orders.uid
        if (session := self._sessions.get(position)) is not None:
            session.poke()

    def drop(self, position: str) -> None:
        self._items.pop(position, None)
        self._uids.pop(position, None)
        if (session := self._sessions.get(position)) is not None:
            session.end("POSITION_GONE")

    def connected(self, position: str) -> bool:
        return self._sessions.get(position) is not None

    # -- for the uplink

    def set_interest(self, names: frozenset[str], pace_s: float) -> None:
        """Whose figures are watched now, by full name."""
        self._interest = (names, pace_s)
        for session in self._sessions.all():
            self._show_interest(session)

    # -- the service

    async def ConnectMonitor(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """A coroutine that reads and writes by the context; see mesh.link.ServerWire."""
        handler = _Monitor(self)
        handler.session = ParentSession(handler, software_version=self._software_version, timing=LOCAL)
        await handler.session.serve(ServerWire(context))

    def _show_interest(self, session: ParentSession) -> None:
        names, pace_s = self._interest
        session.set_interest([session.identity] if session.identity in names else [], pace_s)


class _Monitor:
    """One session (mesh.link.ParentHandler)."""

    session: ParentSession

    def __init__(self, all_: Monitors) -> None:
        self._all = all_
        self._position = ""

    async def admit(self, hello: link_pb2.Hello) -> int:
        """Numbers need no disk: the child says which it has seen, and it ends with this machine at the latest."""
        if hello.identity not in self._all._items:
            raise NotFound(
                "UNKNOWN_POSITION", f"{hello.identity} is not here", "the monitor is left from before: end it"
            )
        self._position = hello.identity
        epoch = max(hello.epoch, self._all._epochs.get(self._position, 0)) + 1
        self._all._epochs[self._position] = epoch
        self._all._sessions.enter(self._position, self.session)
        return epoch

    async def desired(self) -> DesiredState:
        item = self._all._items.get(self._position)
        items = [item] if item is not None else []
        return DesiredState.of(self._all._incarnation, item.generation if item else 0, items)

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            log.error("orders_refused", position=self._position, why=refusal.error.message)

    async def status(self, items: Mapping[str, link_pb2.StatusItem], full: bool) -> None:
        """A decision that cannot be taken leaves the last good one in force; one that cannot be written down ends the
        session, and the monitor says it again with the next.
        """
        item, uid = items.get(self._position), self._all._uids.get(self._position)
        if item is None or not item.body or uid is None:
            return
        try:
            decision = MonitorReport.FromString(item.body).decision
            if not decision.number:
                return  # nothing decided yet
            read_decision(decision)
        except (DecodeError, Invalid) as error:
            log.error("decision_refused", position=self._position, why=str(error))
            return
        if self._all._ledger.keep_decision(uid, decision):
            log.info("decision_kept", position=self._position, number=decision.number, reason=decision.reason)
            self._all._ears.wake(self._position)

    async def metrics(self, samples: Sequence[bytes]) -> None:
        for sample in samples:
            self._all._ears.sample(sample)

    async def events(self, events: Sequence[link_pb2.ChildEvent]) -> None:
        for event in events:
            self._all._ears.event(self._position, event.reason, event.message)

    async def link_changed(self, connected: bool) -> None:
        if connected:
            self._all._show_interest(self.session)
            log.info("monitor_connected", position=self._position)
        elif not self._all._sessions.leave(self._position, self.session):
            return
        self._all._ears.wake(self._position)
