"""What all workers share, in one value that the composition root makes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.artifacts.store import Artifacts
from edge_agent.drivers.base import Driver, Fingerprint
from edge_agent.identity.local_links import Links
from edge_agent.machine.layout import Layout
from edge_agent.machine.software import Software
from edge_agent.reconcile.gate import StartGate
from edge_agent.reconcile.health import Health
from edge_agent.reconcile.probe import Probe
from edge_agent.reconcile.router import Router
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Solitude
from waypost.api.link.v1.agent_link_pb2 import PositionReport
from waypost.api.link.v1.monitor_link_pb2 import PositionOrders


class Reports(Protocol):
    """What goes up about positions, by full name; never waits, never fails."""

    def report(self, position: str, report: PositionReport) -> None:
        """What is, latest wins."""

    def retract(self, position: str) -> None:
        """It is no more."""

    def event(self, position: str, reason: str, message: str) -> None: ...


class MonitorLinks(Protocol):
    """What goes down to monitors, by the position's full name; never waits, never fails."""

    def post(self, position: str, orders: PositionOrders) -> None:
        """What the monitor is to decide upon, latest wins."""

    def drop(self, position: str) -> None:
        """The position has no monitor any more."""

    def connected(self, position: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parts:
    layout: Layout
    ledger: Ledger
    driver: Driver
    artifacts: Artifacts
    health: Health
    gate: StartGate
    router: Router
    probe: Probe
    monitors: MonitorLinks
    links: Links
    reports: Reports
    solitude: Solitude
    software: Software
    server: Fingerprint
    gateway_address: str
    domain: str
    """`<uid>.<domain>` addresses a position at the gateway."""
    grace_s: float
    """For a host to finish what is in flight."""
    hung_after_s: float
    """For a host that has served to say again that it does, before it is killed."""
    ports: range
    """For positions that ask for a port of their own, and for monitors that are dialled over TLS."""
    port_is_free: Callable[[int], bool]
    new_replica_id: Callable[[], str]
    """A new one with every call, by all likelihood."""
