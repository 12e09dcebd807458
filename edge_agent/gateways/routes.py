"""The route model, PURE: which calls go to which hosts. Every gateway is rendered from it, Envoy and Kong alike.

A `RouteTable` holds one `PositionRoute` per position of this edge server. A position answers to its uid, its full and
its short name, and may have a port of its own; behind it stand the hosts that run its model and the monitor that gives
out access. What a host's share of the calls is follows from the *shape* that it has in common with others: they share
its weight.

Nothing here knows how a gateway is told. What one of them cannot do is not in the model.
"""

import hashlib
import ipaddress
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mesh.files import SOCKET_PATH_BYTES_MAX
from mesh.position import ALL


@dataclass(frozen=True, slots=True)
class Backend:
    """A host. Addresses are `unix:/path`, `1.2.3.4:port` or `[::1]:port`; ours serve both protocols at one."""

    id: str
    grpc_address: str
    """gRPC: Open Inference Protocol and xapp.v1 InferenceService."""
    http_address: str
    """HTTP/1.1: everything below /v2."""
    shape: str
    """Hosts of one shape are interchangeable: a model version's digest, and what else they were started with."""
    weight: int
    """Hundredths of the calls that all hosts of this shape get together, 0..100."""
    ready: bool = True
    """One that is not ready gets no calls; the others of its shape take its part."""


@dataclass(frozen=True, slots=True)
class PositionRoute:
    """Where the calls of one position go."""

    uid: str
    name: str
    """Full name: `projects/uav/applications/path/positions/tower-7`."""
    generation: int
    """Of the endpoint set that this was made from."""
    hosts: tuple[Backend, ...] = ()
    access_address: str | None = None
    """Where xapp.v1 AccessService is served: the monitor. None while there is none."""
    dedicated_port: int = 0
    """A port of the gateway's address that carries this position's calls only; 0 for none."""
    idempotent: bool = False
    """Whether a call may be tried again on another host after it may have been executed."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What the header `waypost-position` may say: uid, full name, short name."""
        return (self.uid, self.name, "/".join(self.name.split("/")[1::2]))


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes of a gateway, in any order."""

    routes: tuple[PositionRoute, ...] = ()
    hash: str = field(init=False, compare=False)
    """Hex digest of the content; the same for the same routes in another order."""

    def __post_init__(self) -> None:
        content = "\n".join(sorted(map(repr, self.routes)))
        object.__setattr__(self, "hash", hashlib.sha256(content.encode()).hexdigest())

    @property
    def by_uid(self) -> dict[str, PositionRoute]:
        return {route.uid: route for route in self.routes}


def shares(hosts: Iterable[Backend]) -> dict[str, int]:
    """Host id to its part of the calls, as the smallest whole numbers; hosts without a part are not in it.

    Hosts of one shape that are ready divide the shape's weight evenly. A shape with nobody ready leaves its part to
    the others.
    """
    takers = [host for host in hosts if host.ready and host.weight > 0]
    sizes = Counter(host.shape for host in takers)
    scale = math.lcm(*sizes.values())
    parts = {host.id: host.weight * scale // sizes[host.shape] for host in takers}
    common = math.gcd(*parts.values())
    return {id_: part // common for id_, part in parts.items()}


def bridge(old: RouteTable, new: RouteTable) -> RouteTable:
    """What to pass through on the way from `old` to `new`, so that no call meets a gap.

    Everything of `new`, and besides it what leaves: positions, and the hosts of a position that others take over from.
    The gateway can see these answer before the old ones go.
    """
    held, wanted = old.by_uid, new.by_uid
    staying = (_with_leaving(held.get(route.uid), route) for route in new.routes)
    leaving = (replace(route, dedicated_port=0) for route in old.routes if route.uid not in wanted)
    return RouteTable((*staying, *leaving))


def successors(old: PositionRoute | None, new: PositionRoute) -> tuple[Backend, ...]:
    """Hosts that come in where others leave: calls move to them."""
    before, after = shares(old.hosts) if old else {}, shares(new.hosts)
    if not before.keys() - after.keys():
        return ()
    return tuple(host for host in new.hosts if host.id in after.keys() - before.keys())


def _with_leaving(old: PositionRoute | None, new: PositionRoute) -> PositionRoute:
    if old is None or not successors(old, new):
        return new
    leaving = tuple(host for host in old.hosts if host.id in shares(old.hosts).keys() - shares(new.hosts).keys())
    gone = {host.id for host in leaving}
    return replace(new, hosts=(*(host for host in new.hosts if host.id not in gone), *leaving))


def check(table: RouteTable, *, reserved_ports: frozenset[int] = frozenset()) -> tuple[str, ...]:
    """What is wrong with a table, one sentence each; empty where it may be given to a gateway."""
    return (
        *_repeated("uid", (route.uid for route in table.routes)),
        *_repeated("name", (key for route in table.routes for key in set(route.keys) - {route.uid})),
        *_repeated("port", (route.dedicated_port for route in table.routes if route.dedicated_port)),
        *(fault for route in table.routes for fault in _route_faults(route, reserved_ports)),
    )


def _repeated(what: str, values: Iterable[object]) -> Iterator[str]:
    for value, times in Counter(values).items():
        if times > 1:
            yield f"{what} {value} is used {times} times"


def _route_faults(route: PositionRoute, reserved_ports: frozenset[int]) -> Iterator[str]:
    place = f"position {route.keys[-1] or route.uid!r}"
    if not route.uid or "/" in route.uid or not route.keys[-1]:
        yield f"{place} has no usable uid or name: {route.uid!r}, {route.name!r}"
    if not 0 <= route.dedicated_port <= 65535 or route.dedicated_port in reserved_ports:
        yield f"{place} cannot have port {route.dedicated_port}"
    if route.access_address is not None:
        yield from _address_faults(f"the monitor of {place}", route.access_address)
    for host in route.hosts:
        yield from _address_faults(f"host {host.id} of {place}", host.grpc_address)
        yield from _address_faults(f"host {host.id} of {place}", host.http_address)
    for fault in _repeated("host", (host.id for host in route.hosts)):
        yield f"{place}: {fault}"
    yield from _weight_faults(place, route.hosts)


def _weight_faults(place: str, hosts: tuple[Backend, ...]) -> Iterator[str]:
    weights: Mapping[str, int] = {host.shape: host.weight for host in hosts}
    if any(host.weight != weights[host.shape] for host in hosts):
        yield f"{place}: hosts of one shape have different weights"
    if any(weight < 0 for weight in weights.values()):
        yield f"{place}: a weight is negative"
    if hosts and not 0 < sum(weights.values()) <= ALL:  # less: hosts that are gone leave their part to the others
        yield f"{place}: weights add up to {sum(weights.values())}, not to {ALL}"


def _address_faults(who: str, address: str) -> Iterator[str]:
    path = address.removeprefix("unix:")
    if path != address:
        if not path.startswith("/") or len(path.encode()) > SOCKET_PATH_BYTES_MAX:
            yield f"{who}: {path!r} is not a socket's absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes"
        return
    try:
        split_address(address)
    except ValueError:
        yield f"{who}: {address!r} is neither unix:/path nor ip:port"


def split_address(address: str) -> tuple[str, int]:
    """`("::1", 80)` for `[::1]:80`. Raises: ValueError where it is not an IP address with a port."""
    host, _, port = address.rpartition(":")
    ip = ipaddress.ip_address(host.strip("[]"))
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(f"{port!r} is not a port")
    return str(ip), int(port)
