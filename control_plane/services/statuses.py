"""Reads what statuses are made of, for many resources at once."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from control_plane.domain.quota import used_by
from control_plane.domain.status import Surroundings, edge_server_status, position_status
from control_plane.services.kit import Kit
from control_plane.store import observed_rows as rows
from control_plane.store.resources import EDGE_SERVER, MODEL_VERSION, POSITION
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.control.v1.position_pb2 import Position
from waypost.api.control.v1.project_pb2 import Project
from waypost.api.control.v1.subscription_pb2 import Subscription

R = TypeVar("R", Position, EdgeServer, Subscription)


async def with_position_status(kit: Kit, positions: Sequence[Position]) -> Sequence[Position]:
    """The same messages, with their status filled in."""
    servers = {position.spec.edge_server for position in positions}
    versions = await kit.resources.find_many(MODEL_VERSION, {position.spec.model_version for position in positions})
    edge_servers = await kit.resources.find_many(EDGE_SERVER, servers)
    observed = await rows.read_edge_servers(kit.stores.observed, servers)
    reports = await rows.read_reports(
        kit.stores.observed, [(server, position.name) for position in positions for server in servers_of(position)]
    )
    for position in positions:
        server = position.spec.edge_server
        told = [other for other in servers_of(position)[1:] if (other, position.name) in reports]
        around = Surroundings(
            report=reports.get((server, position.name)),
            stand_in=told[0] if told else "",
            stand_in_report=reports[told[0], position.name] if told else None,
            edge_server=edge_servers.get(server),
            edge_server_status=observed.get(server),
            version=versions.get(position.spec.model_version),
        )
        position.status.CopyFrom(position_status(position, around))
    return positions


def servers_of(position: Position) -> Sequence[str]:
    """Who may speak of it: the edge server that the spec names, and those that may stand in for it."""
    return [position.spec.edge_server, *position.spec.on_disconnect.fallback_edge_servers]


async def with_project_status(kit: Kit, projects: Sequence[Project]) -> Sequence[Project]:
    """The same messages, with their status filled in."""
    for project in projects:
        positions = [stored.message async for stored in kit.resources.all(POSITION, f"{project.name}/")]
        project.status.used.CopyFrom(used_by(positions))
    return projects


async def with_edge_server_status(kit: Kit, edge_servers: Sequence[EdgeServer]) -> Sequence[EdgeServer]:
    """The same messages, with their status filled in."""
    observed = await rows.read_edge_servers(kit.stores.observed, _names(edge_servers))
    for edge_server in edge_servers:
        edge_server.status.CopyFrom(edge_server_status(edge_server, observed.get(edge_server.name)))
    return edge_servers


async def with_subscription_status(kit: Kit, subscriptions: Sequence[Subscription]) -> Sequence[Subscription]:
    """The same messages, with their status filled in and without what is input only."""
    observed = await kit.stores.observed.read(rows.SUBSCRIPTION, _names(subscriptions))
    for subscription in subscriptions:
        subscription.spec.ClearField("activation_token")
        subscription.status.ParseFromString(observed.get(subscription.name, b""))
    return subscriptions


def _names(resources: Iterable[R]) -> set[str]:
    return {resource.name for resource in resources}
