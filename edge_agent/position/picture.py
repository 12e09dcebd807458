"""Everything that is known of a position, in one value: what its status, conditions and orders are made from. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.failure import Failure
from edge_agent.model_version import Version
from edge_agent.position.diff import Phase, Replica, Route, Wanted, shape
from waypost.api.control.v1.position_pb2 import Endpoint
from waypost.api.link.v1.monitor_link_pb2 import Verdict


@dataclass(frozen=True, slots=True)
class HostView:
    """A replica, as far as people want to know."""

    replica: Replica
    version: Version
    starts: int = 0
    pid: int = 0
    failure: Failure | None = None
    """Why its last start, or the one before, ended; None once it is READY."""

    @property
    def ready(self) -> bool:
        return self.replica.phase is Phase.READY


@dataclass(frozen=True, slots=True)
class MonitorView:
    connected: bool
    missed: bool = False
    """It has been away for longer than a restart takes."""
    failure: Failure | None = None
    """Why its last start ended."""
    software: str = ""
    """Version of the software that it runs; empty where it does not."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What probe inferences through the gateway have shown."""

    generation: int
    shapes: frozenset[str]
    """That were in the route when one succeeded."""
    failure: Failure | None = None
    """Of the last ones, where they failed."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Of one position, at one moment."""

    generation: int
    wanted: Wanted
    hosts: tuple[HostView, ...] = ()
    fetched: frozenset[str] = frozenset()
    """Digests whose files are here, verified."""
    fetch_failures: Mapping[str, Failure] = field(default_factory=dict)
    """By digest."""
    live: Route = field(default_factory=Route)
    """What the gateway has acknowledged."""
    acknowledged: bool = True
    """Whether that is what it was last given."""
    route_failure: Failure | None = None
    refusal: Failure | None = None
    """Why the agent cannot do what is asked."""
    held: Failure | None = None
    """Why what is carried out is not the newest that is asked."""
    held_generation: int = 0
    """Of what is asked, where that is not what is carried out."""
    proof: Proof | None = None
    monitor: MonitorView = MonitorView(connected=False)
    verdicts: tuple[Verdict, ...] = ()
    served_generation: int = 0
    """The newest generation that was ever IN_SERVICE here; 0: none was."""
    endpoint: Endpoint = field(default_factory=Endpoint)

    @property
    def wanted_shape(self) -> str:
        return shape(self.wanted.version.digest, self.wanted.variant)

    @property
    def ready(self) -> int:
        """Hosts as wanted that answer, whether or not they get calls."""
        return sum(view.replica.shape == self.wanted_shape and view.ready for view in self.hosts)

    @property
    def rejection(self) -> Verdict | None:
        """Of the version that is wanted."""
        return next((verdict for verdict in self.verdicts if verdict.digest == self.wanted.version.digest), None)

    @property
    def settled(self) -> bool:
        """Calls go where they should, and to nobody else: whoever does not answer has left the acknowledged route."""
        return self.acknowledged and bool(self.live.entries) and self.live.replicas <= self._answering

    @property
    def answers(self) -> bool:
        """Calls succeed, as far as was tried."""
        return bool(self.live.replicas & self._answering) and self.proof is not None and self.proof.failure is None

    @property
    def in_service(self) -> bool:
        """As specified, proved by an inference, and with a monitor."""
        return (
            not self.wanted.deleting
            and self.refusal is None
            and self.route_failure is None
            and self.live.weights.keys() == {self.wanted_shape}
            and self.routed(self.wanted_shape) >= self.wanted.replicas_min
            and self._proved
            and not self.monitor.missed
            and (self.monitor.connected or self.served_generation > 0)
        )

    def routed(self, shape_: str) -> int:
        """Hosts of a shape that answer and get calls."""
        named = {entry.replica for entry in self.live.entries if entry.shape == shape_}
        return sum(view.replica.id in named and view.ready for view in self.hosts)

    @property
    def _answering(self) -> frozenset[str]:
        """Ids of the hosts that are READY."""
        return frozenset(view.replica.id for view in self.hosts if view.ready)

    @property
    def _proved(self) -> bool:
        proof = self.proof
        return (
            proof is not None
            and proof.failure is None
            and proof.generation == self.generation
            and self.wanted_shape in proof.shapes
        )


def label(version: Version) -> str:
    """`path-gru/4`: model and version, for people."""
    return "/".join(version.name.split("/")[-3::2]) or version.digest[:19]
