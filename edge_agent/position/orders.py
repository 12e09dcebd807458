"""What a position's monitor is told: a pure function of what is known of the position."""

from collections.abc import Mapping

from edge_agent.drivers.base import Fingerprint
from edge_agent.gateways.routes import PositionRoute
from edge_agent.position.assignments import Assignment
from edge_agent.position.diff import Phase
from edge_agent.position.endpoints import endpoint_set
from edge_agent.position.picture import HostView, Picture
from edge_agent.position.status import replica_state
from waypost.api.link.v1 import monitor_link_pb2 as pb


def orders_of(
    assignment: Assignment,
    picture: Picture,
    live: PositionRoute | None,
    decision: pb.Decision | None,
    versions: Mapping[str, str],
    server: Fingerprint,
    *,
    idempotent: bool,
) -> pb.PositionOrders:
    """live: the route as acknowledged. versions: full name by digest. idempotent: of all versions in the route."""
    return pb.PositionOrders(
        position=assignment.position,
        uid=assignment.uid,
        generation=assignment.generation,
        spec=assignment.spec,
        model_version=assignment.wanted.version.name,
        digest=assignment.wanted.version.digest,
        replicas=[_replica(view) for view in picture.hosts],
        decision=decision,
        endpoints=endpoint_set(live, versions, picture.endpoint),
        tokens=[
            pb.OrderedToken(credential=t.credential, sha256=t.sha256, expire_unix_s=t.expire_unix_s)
            for t in assignment.message.tokens
        ],
        server_cpu_millis=server.cpu_millis,
        server_memory_bytes=server.memory_bytes,
        idempotent=idempotent,
    )


def _replica(view: HostView) -> pb.RunningReplica:
    told = view.failure if view.replica.phase is not Phase.READY else None
    return pb.RunningReplica(
        id=view.replica.id,
        model_version=view.version.name,
        digest=view.version.digest,
        state=replica_state(view.replica.phase),
        starts=view.starts,
        reason=told.reason if told else "",
        message=told.message if told else "",
        pid=view.pid,
    )
