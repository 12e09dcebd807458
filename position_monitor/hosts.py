"""Link 3, seen from the monitor: one session per inference host.

A host dials the monitor's socket, hears the position's keys and generation, and sends what it counts once a second; the
counts go into the board's window. What a host says of its own state is logged and no more: the agent probes hosts
itself, and decisions are taken on what the agent sees.

Whoever may open the socket on this machine is believed to be the replica that it says it is. Over TLS the certificate
decides: it must name this edge server, this position and that replica, and the agent must know the replica, so that the
certificate of one that is gone opens nothing any more.

The monitor keeps nothing about hosts on disk. Session numbers rise above what the host saw last, and the store that
numbers desired state is this process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from mesh.identity import claimed_names
from mesh.link import LOCAL, DesiredState, Item, ParentSession, Refusal, Sessions
from mesh.link_grpc import ServerWire
from mesh.spiffe import host_name
from position_monitor.board import Board
from position_monitor.convert import window_from
from waypost.api.link.v1 import link_pb2 as pb
from waypost.api.link.v1.host_link_pb2 import HostMetrics, HostOrders, HostReport, HostState
from waypost.api.link.v1.host_link_pb2_grpc import HostLinkServiceServicer
from waypost.errors import Denied, Exhausted, Invalid

log = structlog.get_logger()

PACE_S = 1.0  # at which hosts send their counts: decisions within a second need figures of the last one
HOSTS_MAX = 256  # two versions of 64 replicas during a rollout, and as many on their way out


class HostService(HostLinkServiceServicer):
    """Serves HostLinkService."""

    def __init__(self, board: Board, *, incarnation: str, edge_server: str = "") -> None:
        """edge_server: id, of which hosts have certificates; of no account where none dials over TLS."""
        self._board = board
        self._edge_server = edge_server
        self._incarnation = incarnation
        self._sessions = Sessions()
        self._epoch = 0

    async def ConnectHost(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        """Reads and writes through the context; the stub file only knows generators."""
        host = _Host(self, self._board, claimed_names(context))
        await host.session.serve(ServerWire(context))

    async def follow(self) -> None:
        """Tells all hosts whenever the orders change. Cancel it to end."""
        while True:
            await self._board.changed.wait()
            for session in self._sessions.all():
                session.poke()

    def enter(self, replica: str, hello: pb.Hello, session: ParentSession) -> int:
        """The number of the new session. Raises: Exhausted(TOO_MANY_HOSTS)."""
        if self._sessions.get(replica) is None and len(self._sessions.all()) >= HOSTS_MAX:
            raise Exhausted("TOO_MANY_HOSTS", f"{HOSTS_MAX} hosts are connected already", "look for hosts left behind")
        self._epoch = max(self._epoch, hello.epoch) + 1
        self._sessions.enter(replica, session)
        return self._epoch

    def check_name(self, replica: str, claimed: Sequence[str]) -> None:
        """Whether a host with these names in its certificate may speak for `replica`. Raises: Denied(WRONG_PEER)."""
        board = self._board
        if host_name(self._edge_server, board.uid, replica) not in claimed:
            raise Denied(
                "WRONG_PEER",
                f"the certificate of {', '.join(claimed) or 'nobody'} is not that of replica {replica} of "
                f"{board.position}",
                "an agent certifies its own hosts, each for one replica: look which host dials this monitor",
            )
        if replica not in {known.id for known in board.known().replicas}:
            raise Denied(
                "WRONG_PEER", f"{board.position} has no replica {replica}", "a host that was replaced is to be ended"
            )

    def leave(self, replica: str, session: ParentSession) -> None:
        self._sessions.leave(replica, session)

    def desired(self, replica: str) -> DesiredState:
        orders = self._board.known()
        body = HostOrders(position_uid=orders.uid, generation=orders.generation, jwks=self._board.jwks)
        item = Item(replica, orders.generation, body.SerializeToString())
        return DesiredState.of(self._incarnation, orders.generation, [item])


class _Host:
    """One session of one host (mesh.link.ParentHandler)."""

    def __init__(self, service: HostService, board: Board, claimed: Sequence[str] | None) -> None:
        """claimed: names in its certificate; None where it needs none."""
        self._claimed = claimed
        self.session = ParentSession(self, timing=LOCAL)
        self._service = service
        self._board = board
        self._state = ""

    async def admit(self, hello: pb.Hello) -> int:
        if not hello.identity:
            raise Invalid("BAD_IDENTITY", "a host must say which replica it is")
        self._board.known()  # without orders there is nothing to tell a host: it comes back by itself
        if self._claimed is not None:
            self._service.check_name(hello.identity, self._claimed)
        return self._service.enter(hello.identity, hello, self.session)

    async def desired(self) -> DesiredState:
        return self._service.desired(self.session.identity)

    async def may_prune(self, held: pb.Applied) -> bool:
        return True

    async def accepted(self, version: int, refusals: Sequence[Refusal]) -> None:
        for refusal in refusals:
            log.warning("host_refused_orders", replica=self.session.identity, message=refusal.error.message)

    async def status(self, items: Mapping[str, pb.StatusItem], full: bool) -> None:
        item = items.get(self.session.identity)
        if item is None:
            return
        report = HostReport.FromString(item.body)
        state = HostState.Name(report.state).removeprefix("HOST_STATE_").lower()
        if state != self._state:
            self._state = state
            write = log.warning if report.state == HostState.HOST_STATE_FAILED else log.info
            write(
                "host_state",
                replica=self.session.identity,
                state=state,
                version=report.model_version,
                reason=report.reason or None,
                message=report.message or None,
            )

    async def metrics(self, samples: Sequence[bytes]) -> None:
        for sample in samples:
            counts = HostMetrics.FromString(sample)
            counts.replica = self.session.identity  # nobody counts for somebody else
            self._board.count(window_from(counts))

    async def events(self, events: Sequence[pb.ChildEvent]) -> None:
        for event in events:
            log.info("host_event", replica=self.session.identity, reason=event.reason, message=event.message)

    async def link_changed(self, connected: bool) -> None:
        replica = self.session.identity
        if connected:
            self.session.set_interest([replica], PACE_S)
        else:
            self._service.leave(replica, self.session)
        log.info("host_link", replica=replica, connected=connected)
