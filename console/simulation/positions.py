"""What a simulated edge server makes of what it is told: made-up hosts that take their time, and sometimes fail. Pure.

assigned a version -> DEPLOYING (the first) or UPDATING -- deploy_s later --> IN_SERVICE
                                                                        or --> refused, as a monitor refuses one whose
                                                                               hosts do not start three times: the
                                                                               one before serves on, DEGRADED
anything else that changes (tokens, labels, bounds) is taken on at once
deleting -> gone, at once
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waypost.api.control.v1 import condition_pb2 as c
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment, PositionReport

if TYPE_CHECKING:
    import random

_CHANGES = "ChangesApplied"
_CONDITIONS = ("ArtifactReady", "HostsReady", "RouteReady", "MonitorConnected", _CHANGES)
_ALL = 100  # weights are hundredths of the calls


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Of all simulated hosts."""

    deploy_s: float = 0.0
    """From an assignment of another version until it answers."""
    fail_rate: float = 0.0
    """Share of the deployments whose version is refused, 0..1."""


@dataclass(slots=True)
class SimulatedPosition:
    """One position on a simulated edge server."""

    assignment: PositionAssignment
    serves: str = ""
    """Digest of the version that answers; empty where none does."""
    serves_name: str = ""
    ready_at_s: float | None = None
    """When the deployment under way is over; None where none is."""
    rejected: dict[str, pb.RejectedVersion] = field(default_factory=dict)
    """By digest."""

    @property
    def version(self) -> str:
        """Full name of the one that is wanted."""
        return self.assignment.model_version.name

    @property
    def wanted(self) -> str:
        """Digest."""
        return self.assignment.model_version.digest

    @property
    def in_service(self) -> bool:
        return self.serves == self.wanted

    @property
    def settled(self) -> bool:
        """Nothing is under way: it serves what it is told to, or has refused it."""
        return self.ready_at_s is None

    def assign(self, assignment: PositionAssignment, behaviour: Behaviour, now_s: float) -> None:
        """What it shall be from now on."""
        self.assignment = assignment
        if self.in_service or self.wanted in self.rejected:
            self.ready_at_s = None
        elif self.ready_at_s is None:
            self.ready_at_s = now_s + behaviour.deploy_s

    def advance(self, behaviour: Behaviour, rng: "random.Random", now_s: float) -> bool:
        """Ends the deployment whose time has come; whether there was one."""
        if self.ready_at_s is None or now_s < self.ready_at_s:
            return False
        self.ready_at_s = None
        version = self.assignment.model_version
        if rng.random() < behaviour.fail_rate:
            self.rejected[version.digest] = pb.RejectedVersion(
                model_version=version.name,
                digest=version.digest,
                reason="START_FAILED",
                evidence="simulated: its hosts failed to start three times",
            )
        else:
            self.serves, self.serves_name = version.digest, version.name
        return True

    def report(self, gateway: str) -> PositionReport:
        """As a real agent would say it."""
        if self.assignment.deleting:
            status = pb.PositionStatus(
                state=pb.POSITION_STATE_DELETING,
                message="nothing is left of it here",
                observed_generation=self.assignment.generation,
            )
            return PositionReport(uid=self.assignment.uid, status=status, gone=True)
        status = pb.PositionStatus(
            state=self._state(),
            message=self._message(),
            observed_generation=self.assignment.generation,
            conditions=[_condition(kind, self) for kind in _CONDITIONS],
            serving=self._serving(),
            endpoint=pb.Endpoint(
                gateway=gateway, position=self.assignment.uid, path_prefix=f"/positions/{self.assignment.uid}"
            ),
            rejected=self.rejected.values(),
        )
        return PositionReport(uid=self.assignment.uid, status=status)

    def _state(self) -> pb.PositionState.ValueType:
        if self.in_service:
            return pb.POSITION_STATE_IN_SERVICE
        if self.wanted in self.rejected:
            return pb.POSITION_STATE_DEGRADED if self.serves else pb.POSITION_STATE_OUT_OF_SERVICE
        return pb.POSITION_STATE_UPDATING if self.serves else pb.POSITION_STATE_DEPLOYING

    def _message(self) -> str:
        if self.in_service:
            return "simulated: it answers with 1 replica"
        if self.wanted in self.rejected:
            return "simulated: its version was refused"
        return "simulated: 0 of 1 replicas are ready"

    def _serving(self) -> list[pb.ServingVersion]:
        if not self.serves:
            return []
        return [pb.ServingVersion(model_version=self.serves_name, digest=self.serves, weight=_ALL, replicas_ready=1)]


def _condition(kind: str, position: SimulatedPosition) -> c.Condition:
    if position.in_service or kind == _CHANGES:  # nothing is held back on a machine that is not there
        return c.Condition(type=kind, status=c.CONDITION_STATUS_TRUE)
    reason = "REJECTED" if position.wanted in position.rejected else "STARTING"
    message = "simulated: it is not as the spec asks for"
    return c.Condition(type=kind, status=c.CONDITION_STATUS_FALSE, reason=reason, message=message)


def take(
    held: Mapping[str, SimulatedPosition],
    assignments: Mapping[str, PositionAssignment],
    behaviour: Behaviour,
    now_s: float,
) -> dict[str, SimulatedPosition]:
    """The positions of an edge server that is told `assignments`, by full name; what is not told is no more."""
    positions: dict[str, SimulatedPosition] = {}
    for name, assignment in assignments.items():
        known = held.get(name)
        if known is None or known.assignment.uid != assignment.uid:
            known = SimulatedPosition(assignment)
        known.assign(assignment, behaviour, now_s)
        positions[name] = known
    return positions
