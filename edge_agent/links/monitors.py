"""Link 2, seen from the agent: one session per position monitor, over a Unix socket that only we may open, or over TLS.

Down go orders, whenever something of them has changed; up come decisions. A decision is written to the ledger before
anything follows from it, and comes back with the next orders: that is how the monitor knows that it counts, and how
one that starts again goes on. What a monitor measures travels on to the control plane as it is.

Over TLS a monitor speaks for the position that its certificate names, and for no other (identity/local_links.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import DecodeError

from edge_agent.position.assignments import read_decision
from edge_agent.state.ledger import Ledger
from mesh.identity import claimed_names
from mesh.link import LOCAL, DesiredState, Item, ParentSession, ParentWire, Refusal, Sessions
from mesh.link_grpc import ServerWire
from mesh.spiffe import monitor_name
from waypost.api.link.v1 import link_pb2, monitor_link_pb2_grpc
from waypost.api.link.v1.monitor_link_pb2 import MonitorReport, PositionOrders
from waypost.errors import Denied, Invalid, NotFound

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

    def __init__(self, ledger: Ledger, *, incarnation: str, edge_server: str = "") -> None:
        """edge_server: id, of which monitors have certificates; of no account where none dials over TLS."""
        self._ledger = ledger
        self._edge_server = edge_server
        self._incarnation = incarnation
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
        for known in (self._items, self._uids, self._epochs):
            known.pop(position, None)
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
        """A coroutine that reads and writes by the context; see mesh.link_grpc.ServerWire."""
        await self.serve(ServerWire(context), claimed_names(context))

    async def serve(self, wire: ParentWire, claimed: Sequence[str] | None = None) -> None:
        """One stream of one monitor, to its end. Raises: MeshError to tell the monitor.

        claimed: names in its certificate; None where it needs none.
        """
        handler = _Monitor(self, claimed)
        handler.session = ParentSession(handler, timing=LOCAL)
        await handler.session.serve(wire)

    # -- for the sessions

    def enter(self, hello: link_pb2.Hello, session: ParentSession, claimed: Sequence[str] | None) -> int:
        """The number of the new session. Raises: NotFound(UNKNOWN_POSITION), Denied(WRONG_PEER).

        Numbers need no disk: the child says which it has seen, and it ends with this machine at the latest.
        """
        position = hello.identity
        if position not in self._items:
            raise NotFound("UNKNOWN_POSITION", f"{position} is not here", "the monitor is left from before: end it")
        if claimed is not None:
            self._check_name(position, claimed)
        self._epochs[position] = max(hello.epoch, self._epochs.get(position, 0)) + 1
        self._sessions.enter(position, session)
        return self._epochs[position]

    def _check_name(self, position: str, claimed: Sequence[str]) -> None:
        """Whether who has these names in its certificate may speak for the position. Raises: Denied(WRONG_PEER)."""
        if monitor_name(self._edge_server, self._uids[position]) not in claimed:
            raise Denied(
                "WRONG_PEER",
                f"the certificate of {', '.join(claimed) or 'nobody'} is not that of the monitor of {position}",
                "an agent certifies its own monitors, each for one position: look which monitor dials this agent",
            )

    def leave(self, position: str, session: ParentSession) -> None:
        if self._sessions.leave(position, session):
            self._ears.wake(position)

    def arrived(self, position: str, session: ParentSession) -> None:
        """The session is on."""
        self._show_interest(session)
        self._ears.wake(position)

    def desired(self, position: str) -> DesiredState:
        item = self._items.get(position)
        return DesiredState.of(self._incarnation, item.generation if item else 0, [item] if item else [])

    def decided(self, position: str, body: bytes) -> None:
        """Writes a decision down, then tells. One that cannot be taken leaves the last good one in force.

        Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED): the session ends, and the next one says it again.
        """
        try:
            decision = MonitorReport.FromString(body).decision
            if not decision.number:
                return  # nothing decided yet
            read_decision(decision)
        except (DecodeError, Invalid) as error:
            log.error("decision_refused", position=position, why=str(error))
            return
        uid = self._uids.get(position)
        if uid is not None and self._ledger.keep_decision(uid, decision):
            log.info("decision_kept", position=position, number=decision.number, reason=decision.reason)
            self._ears.wake(position)

    def measured(self, samples: Sequence[bytes]) -> None:
        for sample in samples:
            self._ears.sample(sample)

    def happened(self, position: str, event: link_pb2.ChildEvent) -> None:
        self._ears.event(position, event.reason, event.message)

    def _show_interest(self, session: ParentSession) -> None:
        names, pace_s = self._interest
        session.set_interest([session.identity] if session.identity in names else [], pace_s)


class _Monitor:
    """One session (mesh.link.ParentHandler)."""

    session: ParentSession
    """Set by whoever makes it, before it is served."""

    def __init__(self, monitors: Monitors, claimed: Sequence[str] | None) -> None:
        self._monitors = monitors
        self._claimed = claimed
        self._position = ""

    async def admit(self, hello: link_pb2.Hello) -> int:
        epoch = self._monitors.enter(hello, self.session, self._claimed)
        self._position = hello.identity
        return epoch

    async def desired(self) -> DesiredState:
        return self._monitors.desired(self._position)

    async def may_prune(self, held: link_pb2.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            log.error("orders_refused", position=self._position, why=refusal.error.message)

    async def status(self, items: Mapping[str, link_pb2.StatusItem], full: bool) -> None:
        item = items.get(self._position)
        if item is not None and item.body:
            self._monitors.decided(self._position, item.body)

    async def metrics(self, samples: Sequence[bytes]) -> None:
        self._monitors.measured(samples)

    async def events(self, events: Sequence[link_pb2.ChildEvent]) -> None:
        for event in events:
            self._monitors.happened(self._position, event)

    async def link_changed(self, connected: bool) -> None:
        log.info("monitor_link", position=self._position, connected=connected)
        if connected:
            self._monitors.arrived(self._position, self.session)
        else:
            self._monitors.leave(self._position, self.session)
