"""The real agent, put together as edge_agent/assembly.py does it, with what has no sockets in the place of what has."""

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_agent.artifacts.blobs import Blobs
from edge_agent.artifacts.store import Artifacts
from edge_agent.assembly import connect
from edge_agent.drivers.fake import FakeDriver
from edge_agent.identity.local_links import SocketLinks
from edge_agent.links.commands import Commands
from edge_agent.links.monitors import Monitors
from edge_agent.links.uplink import Uplink, capacity
from edge_agent.machine.software import Software
from edge_agent.reconcile.gate import StartGate
from edge_agent.reconcile.health import FakeHealth
from edge_agent.reconcile.parts import Parts
from edge_agent.reconcile.probe import Answer, FakeProbe
from edge_agent.reconcile.router import Router
from edge_agent.reconcile.supervise import Supervisor
from edge_agent.state.ledger import Ledger
from edge_agent.state.solitude import Solitude
from tests.sim.machine import SimSource
from waypost.api.inference.v1.inference_pb2 import ModelInferResponse
from waypost.api.link.v1.agent_link_pb2 import EdgeServerReport
from waypost.errors import Unavailable

if TYPE_CHECKING:
    from tests.sim.edge import Edge

HEALTH_S = 0.5
GRACE_S = 5.0
HUNG_AFTER_S = 10.0
PORTS = range(7700, 7706)  # as many as positions may ask for


@dataclass
class Agent:
    """What one life of the agent is made of."""

    ledger: Ledger
    solitude: Solitude
    uplink: Uplink
    supervisor: Supervisor
    monitors: Monitors

    async def run(self) -> None:
        """For ever. Raises: ExceptionGroup of MeshError."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.supervisor.run())
            tasks.create_task(self.uplink.run())
            tasks.create_task(self.solitude.run())
            report = EdgeServerReport(agent_version="1", driver="fake", capacity=capacity(FakeDriver().fingerprint()))
            self.uplink.describe(report)


def assembled(edge: "Edge", boot_id: str) -> Agent:
    """Raises: MeshError where its disk cannot be read."""
    edge.layout.create()
    ledger = Ledger(edge.layout.ledger)
    monitors = Monitors(ledger, incarnation=edge.new_uuid())
    solitude = Solitude(ledger.alone, ledger.keep_alone, edge.moment)
    uplink = Uplink(ledger, solitude, edge_server=edge.name, boot_id=boot_id)
    uplink.open(edge.dial_up, random.Random(edge.rng.random()), edge.timing)
    supervisor = _connected(_parts(edge, ledger, monitors, solitude, uplink), monitors, uplink)
    return Agent(ledger, solitude, uplink, supervisor, monitors)


def _parts(edge: "Edge", ledger: Ledger, monitors: Monitors, solitude: Solitude, uplink: Uplink) -> Parts:
    driver = FakeDriver(edge.machine)
    source = SimSource(edge.contents, lambda: not edge.reaches_source, edge.rng)
    return Parts(
        layout=edge.layout,
        ledger=ledger,
        driver=driver,
        artifacts=Artifacts(edge.artifacts / "versions", Blobs(edge.artifacts / "blobs", source)),
        health=FakeHealth(edge.machine.answers, HEALTH_S),
        gate=StartGate(2),
        router=Router(edge.gateway),
        probe=FakeProbe(lambda uid: _infer(edge, uid)),
        monitors=monitors,
        software=Software(edge.artifacts / "software"),
        links=SocketLinks(),
        reports=uplink,
        solitude=solitude,
        server=driver.fingerprint(),
        gateway_address=edge.gateway.address,
        domain="edge.local",
        grace_s=GRACE_S,
        hung_after_s=HUNG_AFTER_S,
        ports=PORTS,
        port_is_free=lambda port: True,
        new_replica_id=edge.new_replica_id,
    )


def _connected(parts: Parts, monitors: Monitors, uplink: Uplink) -> Supervisor:
    supervisor = Supervisor(parts)
    connect(supervisor, uplink, monitors, Commands(parts, supervisor.assignment, supervisor.wake, renew=lambda: None))
    return supervisor


def _infer(edge: "Edge", uid: str) -> Answer:
    """One call through the gateway."""
    for host in edge.answering(uid):
        return Answer(ModelInferResponse(), host.shape.partition("/")[0])
    raise Unavailable("NO_HOST", "no host answers")
