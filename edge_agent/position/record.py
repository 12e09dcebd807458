"""What was given out to a position and what became of it, as the ledger keeps it; and what it must hold before anything
is done. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_agent.machine.layout import Layout, PositionPaths
from edge_agent.model_version import Version
from edge_agent.position.assignments import Assignment
from edge_agent.position.diff import Drain, Reroute, Route, Start, Step, digest_of
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.api.link.v1.monitor_link_pb2 import Decision


@dataclass(frozen=True, slots=True)
class Slot:
    """What a replica id was given out for. It keeps it through all its starts, and nobody gets the id again."""

    version: Version
    variant: str


@dataclass(frozen=True, slots=True)
class Record:
    """One position here, from its first assignment until nothing of it is left."""

    uid: str
    position: str
    """Full name."""
    short: str
    """Names its directory of sockets."""
    port: int = 0
    """Gateway port of its own; 0 for none."""
    monitor_port: int = 0
    """Where its monitor is dialled over TLS; 0: nowhere."""
    slots: Mapping[str, Slot] = field(default_factory=dict)
    """By replica id."""
    route: Route = field(default_factory=Route)
    """What the gateway was last given."""
    route_generation: int = 0
    """Rises with each change of the route."""
    good: Version | None = None
    """The version that last answered a probe inference through the gateway."""
    good_generation: int = 0
    """Position.generation at that moment; 0: it has never served."""
    versions: Mapping[str, bytes] = field(default_factory=dict)
    """Serialized ModelVersion by digest: all that may have to be run again without asking the control plane."""
    assignment: bytes = b""
    """What was carried out last: a serialized PositionAssignment. Empty: an agent that did not say so was here."""


def paths_of(record: Record, layout: Layout) -> PositionPaths:
    return layout.position(record.uid, record.short)


def version_of(record: Record, digest: str) -> ModelVersion | None:
    """What the version consists of; None where nobody has said so."""
    body = record.versions.get(digest)
    return None if body is None else ModelVersion.FromString(body)


def with_versions(record: Record, assignment: Assignment, decision: Decision | None) -> Record:
    """With everything that may have to be started here, also without the control plane, and nothing else."""
    known = dict(record.versions)
    wanted = assignment.model_version
    if wanted.digest:
        known[wanted.digest] = wanted.SerializeToString(deterministic=True)
    needed = {wanted.digest}
    needed |= {share.digest for share in decision.shares} if decision else set()
    needed |= {slot.version.digest for slot in record.slots.values()}
    needed |= {digest_of(shape) for shape in record.route.weights}
    needed |= {record.good.digest} if record.good else set()
    return replace(record, versions={digest: body for digest, body in known.items() if digest in needed})


def with_good(record: Record, digest: str) -> Record:
    """The version of this digest answered a probe; the same record where it is not known here."""
    version = version_of(record, digest)
    return record if version is None else replace(record, good=Version(version.name, digest))


def with_steps(record: Record, steps: Sequence[Step], new: Mapping[str, Slot]) -> Record:
    """As it must be written down before the steps are taken. new: slots for the steps that start replicas."""
    drained = {step.replica for step in steps if isinstance(step, Drain)}
    route = next((step.route for step in steps if isinstance(step, Reroute)), record.route)
    return replace(
        record,
        slots={id_: slot for id_, slot in {**record.slots, **new}.items() if id_ not in drained},
        route=route,
        route_generation=record.route_generation + (route != record.route),
    )


def new_slots(steps: Sequence[Step], variant: str, ids: Sequence[str]) -> dict[str, Slot]:
    """One for each step that starts a replica. ids: as many as there are such steps, new ones."""
    starts = [step for step in steps if isinstance(step, Start)]
    return {id_: Slot(start.share.version, variant) for id_, start in zip(ids, starts, strict=True)}


def idempotent(record: Record) -> bool:
    """Whether all versions in the route may be asked twice."""
    versions = [version_of(record, digest_of(shape)) for shape in record.route.weights]
    return bool(versions) and all(version is not None and version.idempotent for version in versions)
