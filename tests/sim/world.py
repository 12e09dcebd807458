"""What there is in a run: a store, control planes on it, edge servers, what people do and what goes wrong."""

import random
from pathlib import Path
from uuid import UUID

from control_plane.store.resources import EDGE_SERVER, MODEL_VERSION
from mesh.link import Timing, WireLost
from tests.sim.catalogue import Catalogue
from tests.sim.database import FIRST_INCARNATION, Database
from tests.sim.edge import Edge
from tests.sim.faults import AllFaults
from tests.sim.network import Network, SimWire
from tests.sim.people import People
from tests.sim.plane import Calls, Plane
from tests.sim.processes import Process, ProcessLoop
from tests.sim.witness import Witness
from tests.sim.witness.wires import Session

TIMING = Timing(lease=15.0, heartbeat=5.0, backoff_max=10.0)
PLANES = (1, 1, 2, 3)
EDGES = (1, 1, 2, 2, 3, 4)
BROKEN = (0, 0, 1, 2)  # versions that never start; the first one always does


class World:
    def __init__(self, seed: int, loop: ProcessLoop, directory: Path, traced: int) -> None:
        self.seed = seed
        self.loop = loop
        self.rng = self._stream("world")
        self._uuids = self._stream("uuids")
        self.witness = Witness(loop, traced, FIRST_INCARNATION)
        self.catalogue = Catalogue.made()
        self.versions = self.catalogue.versions
        broken = self.rng.sample(sorted(self.versions)[1:], self.rng.choice(BROKEN))
        self.broken = {self.versions[name].digest for name in broken}
        self.witness.machines.known_broken = self.broken
        self.database = Database(
            self._stream("database"), committed=self.witness.commits.committed, observes=self.witness.wires.observes
        )
        self.planes = self._planes(self.rng.choice(PLANES))
        self.edges = [self._edge(number, directory) for number in range(1, self.rng.choice(EDGES) + 1)]
        self.people = People(self, self._stream("people"))
        self.faults = AllFaults(self, self._stream("faults"))

    def _stream(self, purpose: str) -> random.Random:
        """Chance of its own for each purpose: one more draw here does not change everything there."""
        return random.Random(f"{self.seed}/{purpose}")

    def _planes(self, count: int) -> list[Plane]:
        self.database.is_shared = count > 1
        calls = Calls()
        return [
            Plane(f"plane {number}", self.loop, self.database, self.witness, TIMING, self.new_uuid, calls)
            for number in range(1, count + 1)
        ]

    def _edge(self, number: int, directory: Path) -> Edge:
        return Edge(
            name=f"edgeServers/edge-{number}",
            loop=self.loop,
            rng=self._stream(f"edge-{number}"),
            directory=directory,
            watch=self.witness,
            dial=self._dial,
            contents=self.catalogue.contents,
            broken=self.broken,
            timing=TIMING,
            new_uuid=self.new_uuid,
        )

    async def _dial(self, edge: Edge, network: Network) -> SimWire:
        """All control planes are behind one address: whoever listens may get the connection."""
        session, wires = Session(edge), self.witness.wires

        def accept(wire: SimWire) -> None:
            listening = [plane for plane in self.planes if plane.serving is not None]
            if not listening:
                raise WireLost("connection refused")
            wire.heard = lambda message: wires.sent_down(session, message)
            wire.took = lambda: wires.taken(session)
            edge.rng.choice(listening).accept(session, wire)

        wire = await network.connect(accept)
        wire.heard = lambda message: wires.sent_up(session, message)
        return wire

    def boot(self) -> None:
        self.database.apply(self.catalogue.records(edge.name for edge in self.edges))
        for machine in (*self.planes, *self.edges):
            machine.boot()

    def new_uuid(self) -> str:
        return str(UUID(int=self._uuids.getrandbits(128), version=4))

    # -- what can be seen

    def state_of(self, version: str) -> int:
        return MODEL_VERSION.decode(self.database.records[version]).state

    def is_confirmed(self, edge_server: str) -> bool:
        """Whether somebody has said that the store is meant, where it was restored from a backup."""
        incarnation = self.database.incarnation
        record = EDGE_SERVER.decode(self.database.records[edge_server])
        return incarnation in (FIRST_INCARNATION, record.confirmed_incarnation)

    def processes(self) -> list[Process]:
        """Agents, monitors and control planes: those that live."""
        monitors = [process for edge in self.edges for process in edge.monitors.values()]
        others = [machine.process for machine in (*self.edges, *self.planes) if machine.process is not None]
        return [process for process in (*others, *monitors) if process.alive]
