"""What is still missing before a mesh is at rest: as people asked for last, everywhere, and said so truthfully.

Judged from outside: the store, the agents' disks, the machines and their gateways are the truth, and what the control
plane shows of positions and edge servers is held against it.
"""

from typing import TYPE_CHECKING

from control_plane.store.resources import DESIRED, POSITION, desired_name
from edge_agent.drivers.base import MONITOR
from waypost.api.control.v1 import position_pb2 as pb
from waypost.api.control.v1.condition_pb2 import CONDITION_STATUS_TRUE
from waypost.api.control.v1.edge_server_pb2 import EDGE_SERVER_STATE_CONNECTED, EdgeServer, GetEdgeServerRequest
from waypost.api.control.v1.model_pb2 import MODEL_VERSION_STATE_AVAILABLE
from waypost.api.link.v1.agent_link_pb2 import PositionAssignment
from waypost.errors import NotFound

if TYPE_CHECKING:
    from tests.sim.edge import Edge
    from tests.sim.world import World

SERVING = (pb.POSITION_STATE_IN_SERVICE, pb.POSITION_STATE_DEGRADED, pb.POSITION_STATE_UPDATING)


async def unsettled(world: "World") -> list[str]:
    """One phrase for each thing that is not as it should be, or is not said to be."""
    answering = [plane.answering for plane in world.planes if plane.answering is not None]
    if len(answering) < len(world.planes):
        return ["a control plane is down"]
    plane = world.rng.choice(answering)
    missing: list[str] = []
    uids = {}
    for name, record in sorted(world.database.records.items()):
        if record.kind != POSITION.kind:
            continue
        position = POSITION.decode(record)
        uids[position.uid] = position
        try:
            shown = await plane.process.spawn(plane.positions.position(name))
        except NotFound:  # it has just gone
            missing.append(f"{name[-5:]} is in the middle of something")
            continue
        missing += [f"{name[-5:]}: {each}" for each in _position(world, position, shown.status)]
    for edge in world.edges:
        request = GetEdgeServerRequest(name=edge.name)
        shown_edge = (await plane.process.spawn(plane.edge_servers.GetEdgeServer(request, None))).edge_server
        missing += [f"{edge.name[-6:]}: {each}" for each in _edge(world, edge, shown_edge, uids)]
    return missing


def _edge(world: "World", edge: "Edge", shown: EdgeServer, positions: dict[str, pb.Position]) -> list[str]:
    if edge.agent is None:
        return ["no agent"]
    missing = []
    if not world.is_confirmed(edge.name):
        missing.append("nobody has said what the restored store means")
    if edge.machine.doomed_until_s > world.loop.now_s:
        missing.append("something is still going to die")
    if edge.agent.solitude.seconds:
        missing.append("the agent does not hear its control plane")
    record = world.database.records.get(desired_name(edge.name))
    untrue = [judged.type for judged in shown.status.conditions if judged.status != CONDITION_STATUS_TRUE]
    if shown.status.state != EDGE_SERVER_STATE_CONNECTED or untrue:
        missing.append(f"is shown as {shown.status.message!r}, not {untrue}")
    if record is not None:
        held = edge.agent.ledger.desired
        items = {item.name: item.generation for item in DESIRED.decode(record).upserts}
        if {name: item.generation for name, item in held.items.items()} != items:
            missing.append("the agent does not hold what is desired")
        if shown.status.accepted_version != record.revision:
            missing.append(f"revision {record.revision}, shown as accepted {shown.status.accepted_version}")
    wanted = {uid for uid, position in positions.items() if position.spec.edge_server == edge.name}
    here = {uid for uid, processes in edge.machine.processes.items() if processes}
    routed = set(edge.gateway.table.by_uid) if edge.gateway.table else set()
    for left in sorted((here | routed | edge.agent.ledger.records.keys()) - wanted):
        missing.append(f"something is left of {left}")
    return missing


def _position(world: "World", position: pb.Position, status: pb.PositionStatus) -> list[str]:
    if position.HasField("delete_time"):
        return ["is still in deletion"]
    edge = next(each for each in world.edges if each.name == position.spec.edge_server)
    record = world.database.records.get(desired_name(edge.name))
    items = {item.name: item for item in DESIRED.decode(record).upserts} if record else {}
    wanted = world.versions[position.spec.model_version]
    rejected = edge.agent.ledger.decision(position.uid) if edge.agent else None
    verdicts = {verdict.digest for verdict in rejected.verdicts} if rejected else set()
    deployable = world.state_of(wanted.name) == MODEL_VERSION_STATE_AVAILABLE and wanted.digest not in verdicts
    item = items.get(position.name)
    if item is None:
        return ["is planned nowhere"] if deployable else []
    assignment = PositionAssignment.FromString(item.body)
    missing = []
    if assignment.generation != position.generation or assignment.uid != position.uid:
        missing.append(f"generation {position.generation} is not planned")
    if assignment.model_version.digest != wanted.digest and deployable:
        missing.append(f"is not given {wanted.name}")
    return missing + _served(world, edge, assignment, verdicts, status)


def _served(
    world: "World", edge: "Edge", assignment: PositionAssignment, verdicts: set[str], status: pb.PositionStatus
) -> list[str]:
    """What answers, and what is said of that."""
    uid, digest = assignment.uid, assignment.model_version.digest
    hosts, answering = edge.routed(uid), edge.answering(uid)
    serving = {h.shape.partition("/")[0] for h in answering}
    processes = {id_ for id_ in edge.machine.of(uid) if id_ != MONITOR}
    told = f"{pb.PositionState.Name(status.state)} {status.message!r}"
    clean = processes == hosts.keys() and len(answering) == len(hosts)
    if digest not in verdicts and digest not in world.broken:
        least = assignment.spec.replicas.min
        as_asked = serving == {digest} and least <= len(answering) <= max(least, assignment.spec.replicas.max)
        if not as_asked or not clean:
            return [f"{len(answering)} answer of {sorted(processes)}, routed {sorted(hosts)}; {told}"]
        truth = status.state == pb.POSITION_STATE_IN_SERVICE and status.observed_generation == assignment.generation
        held_back = status.state == pb.POSITION_STATE_DEGRADED and "serves what it had" in status.message
        return [] if truth or held_back else [f"serves as asked, is shown as {told}"]
    if status.state == pb.POSITION_STATE_IN_SERVICE:
        return [f"cannot serve as asked, is shown as {told}"]
    record = edge.agent.ledger.record(uid) if edge.agent else None
    good = record.good.digest if record and record.good else digest
    if good in verdicts or good in world.broken or good == digest:
        return []  # there is nothing to fall back to
    if digest not in verdicts:
        return ["does not start and is not rejected yet"]
    if not answering or not clean or status.state not in SERVING:
        return [f"{len(answering)} answer of what served before; {told}"]
    return []
