"""Who answers at a position, said once and rendered twice: to the gateway's routes and to the monitor's endpoint set.

A route of the ledger names replicas; their addresses come from the driver. Everything here is a function of what is
written down, so an agent that starts again renders the same routes, and the gateway finds nothing to do. Pure.
"""

from collections.abc import Collection, Mapping

from edge_agent.drivers.base import Observed
from edge_agent.gateways.routes import Backend, PositionRoute
from edge_agent.machine.layout import Layout
from edge_agent.model_version import Version
from edge_agent.position.diff import Entry, Route, digest_of
from edge_agent.position.record import Record, idempotent, paths_of
from waypost.api.control.v1.position_pb2 import Endpoint
from waypost.api.link.v1.monitor_link_pb2 import EndpointSet, ReplicaEndpoint


def rendered(record: Record, observed: Collection[Observed], layout: Layout) -> PositionRoute:
    """The record's route for the gateway, the same whenever it is asked for. Our hosts serve gRPC and HTTP at one
    address; replicas of which nothing is left are no longer in it.
    """
    addresses = {seen.id: seen.address for seen in observed if seen.address}
    hosts = tuple(
        Backend(entry.replica, address, address, shape=entry.shape, weight=entry.weight)
        for entry in record.route.entries
        if (address := addresses.get(entry.replica)) is not None
    )
    return PositionRoute(
        uid=record.uid,
        name=record.position,
        generation=record.route_generation,
        hosts=hosts,
        access_address=paths_of(record, layout).monitor_address,
        dedicated_port=record.port,
        idempotent=idempotent(record),
    )


def route_of(live: PositionRoute | None) -> Route:
    """What a gateway's route says about who gets the calls."""
    hosts = live.hosts if live else ()
    return Route(tuple(sorted(Entry(host.id, host.shape, host.weight) for host in hosts)))


def endpoint_set(live: PositionRoute | None, versions: Mapping[str, str], at: Endpoint) -> EndpointSet:
    """What the gateway acknowledged, for the monitor. versions: full name by digest."""
    return EndpointSet(
        generation=live.generation if live else 0,
        replicas=[
            ReplicaEndpoint(
                id=host.id,
                grpc_address=host.grpc_address,
                weight=host.weight,
                model_version=versions.get(digest_of(host.shape), ""),
                digest=digest_of(host.shape),
            )
            for host in (live.hosts if live else ())
        ],
        endpoint=at,
    )


def endpoint(record: Record, *, gateway: str, domain: str, serve_as: str) -> Endpoint:
    """Where xApps call."""
    return Endpoint(
        gateway=gateway,
        position=record.uid,
        authority=f"{record.uid}.{domain}",
        path_prefix=f"/positions/{record.uid}",
        port=record.port,
        serve_as=serve_as,
    )


def names_by_digest(*versions: Version | None) -> dict[str, str]:
    return {version.digest: version.name for version in versions if version is not None}
