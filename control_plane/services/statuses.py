"""Reads what statuses are made of, for many resources at once."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from control_plane.domain.status import Surroundings, edge_server_status, position_status
from control_plane.services.kit import Kit
from control_plane.store import observed_rows as rows
from control_plane.store.resources import EDGE_SERVER, MODEL_VERSION
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.control.v1.position_pb2 import Position
from waypost.api.control.v1.subscription_pb2 import Subscription

R = TypeVar("R", Position, EdgeServer, Subscription)


async def with_position_status(kit: Kit, positions: Sequence[Position]) -> Sequence[Position]:
    """The same messages, with their status filled in."""
    servers = {position.spec.edge_server for position in positions}
    versions = await kit.resources.find_many(MODEL_VERSION, {position.spec.model_version for position in positions})
    edge_servers = await kit.resources.find_many(EDGE_SERVER, servers)
    observed = await rows.read_edge_servers(kit.stores.observed, servers)
    reports = await rows.read_reports(
        kit.stores.observed, [(position.spec.edge_server, position.name) for position in positions]
    )
    for position in positions:
        server = position.spec.edge_server
        around = Surroundings(
            reports.get(position.name),
            edge_servers.get(server),
            observed.get(server),
            versions.get(position.spec.model_version),
        )
        position.status.CopyFrom(position_status(position, around))
    return positions


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
