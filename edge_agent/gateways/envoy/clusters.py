"""PURE: who answers the calls. Three clusters per position, one per face:

    <uid>/grpc      its hosts, gRPC over HTTP/2
    <uid>/http      the same hosts, HTTP/1.1
    <uid>/access    its monitor

Calls go to hosts in proportion to their parts; between hosts of equal parts, to the less busy of two. Three things
keep calls away from a host that is gone: Envoy's own health checks, a failed connection (it is left out for a second,
and the call is tried elsewhere), and the next table. Where no host at all passes its checks, calls go to all of them:
to those that are gone in vain, which is no worse than refusing them, but a host that is merely too busy to answer its
health checks still gets its calls.

A host that stops answering, and does not end, would keep the calls that it holds until their deadlines. So Envoy pings
its gRPC connections, and closes one that says nothing: those calls are lost as if the host had died, and tried
elsewhere on the same terms. HTTP/1.1 knows no ping: there they end with their deadlines.
"""

from typing import Literal

from edge_agent.gateways.envoy.typed import Json, typed
from edge_agent.gateways.routes import Backend, PositionRoute, shares, split_address

Face = Literal["grpc", "http", "access"]
FACES: tuple[Face, ...] = ("grpc", "http", "access")

CONNECT_TIMEOUT = "1s"  # hosts are on this machine or next to it
CHECK_TIMEOUT = "1s"
CHECK_INTERVAL = "1s"
CHECK_IDLE_INTERVAL = "5s"  # for a position without calls: five hundred of them must not keep a core busy
CHECK_AGAIN_INTERVAL = "0.25s"  # of a host that failed: it may have come back
CHECK_MISSES_MAX = 3
EJECTION = "1s"  # of a host whose connections fail; grows with each time up to
EJECTION_MAX = "5s"
CALLS_MAX = 16_384  # at once per position and face, above any host's own bound; more are refused: UNAVAILABLE
RETRIES_MAX = 3  # per call: one host dies, two more have died and it is not known yet, the fourth answers
HOST_CHOICES_MAX = (
    50  # draws to find a host that this call has not tried: a dead one is idle, and so drawn 3 times in 4
)
PING = {"interval": "2s", "timeout": "2s"}  # of gRPC connections to hosts; grpcio, at monitors, would take it ill
KEEPALIVE_HTTP = "30s"  # idle connections to hosts; below any HTTP server's own limit, or calls meet closing ones

NOT_EXECUTED = "connect-failure,refused-stream"
"""When a call is tried again although it must not be executed twice."""
LOST: dict[Face, str] = {"grpc": "reset,unavailable", "http": "reset,retriable-status-codes"}
"""When it is besides, where it may be executed twice. UNAVAILABLE and 503 are a host's word that it was not."""


def cluster_name(uid: str, face: Face) -> str:
    return f"{uid}/{face}"


def clusters(route: PositionRoute) -> list[Json]:
    """All faces of one position."""
    parts = shares(route.hosts)
    takers = [host for host in route.hosts if host.id in parts]
    monitor = [_endpoint(route.access_address, 1)] if route.access_address else []
    return [
        _hosts_cluster(route, "grpc", [_endpoint(host.grpc_address, parts[host.id]) for host in takers]),
        _hosts_cluster(route, "http", [_endpoint(host.http_address, parts[host.id]) for host in takers]),
        _cluster(route.uid, "access", monitor, idempotent=False),
    ]


def addresses(hosts: tuple[Backend, ...], face: Face) -> frozenset[str]:
    """Where the hosts that take calls are, as `shown`."""
    parts = shares(hosts)
    found = (host.http_address if face == "http" else host.grpc_address for host in hosts if host.id in parts)
    return frozenset(shown(socket(address)) for address in found)


def shown(address: Json) -> str:
    """Envoy's form of an address for people, and to compare."""
    if "pipe" in address:
        return str(address["pipe"]["path"])
    return f"{address['socket_address']['address']}:{address['socket_address']['port_value']}"


def _hosts_cluster(route: PositionRoute, face: Face, endpoints: list[Json]) -> Json:
    return {
        **_cluster(route.uid, face, endpoints, idempotent=route.idempotent),
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},  # percent: all get calls when none is healthy
        "health_checks": [
            {
                "timeout": CHECK_TIMEOUT,
                "interval": CHECK_INTERVAL,
                "unhealthy_interval": CHECK_AGAIN_INTERVAL,
                "no_traffic_interval": CHECK_AGAIN_INTERVAL,
                "no_traffic_healthy_interval": CHECK_IDLE_INTERVAL,
                "healthy_threshold": 1,
                "unhealthy_threshold": CHECK_MISSES_MAX,
                **_health_check(face),
            }
        ],
        "outlier_detection": _failed_connections(),
    }


def _cluster(uid: str, face: Face, endpoints: list[Json], *, idempotent: bool) -> Json:
    name = cluster_name(uid, face)
    return typed(
        "config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout=CONNECT_TIMEOUT,
        lb_policy="LEAST_REQUEST",
        # Unequal parts are kept exactly, however busy the hosts are: a version's share is what was asked for.
        least_request_lb_config={"active_request_bias": {"default_value": 0, "runtime_key": "waypost.bias"}},
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        circuit_breakers={"thresholds": [dict.fromkeys(_BREAKERS, CALLS_MAX)]},
        typed_extension_protocol_options={
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "extensions.upstreams.http.v3.HttpProtocolOptions",
                common_http_protocol_options={"idle_timeout": KEEPALIVE_HTTP} if face == "http" else {},
                explicit_http_config=_PROTOCOL[face],
                retry_policy=_retries(face, idempotent=idempotent),
            )
        },
    )


_PROTOCOL: dict[Face, Json] = {
    "grpc": {"http2_protocol_options": {"connection_keepalive": PING}},
    "http": {"http_protocol_options": {}},
    "access": {"http2_protocol_options": {}},
}
_BREAKERS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")


def _retries(face: Face, *, idempotent: bool) -> Json:
    return {
        "retry_on": f"{NOT_EXECUTED},{LOST[face]}" if idempotent else NOT_EXECUTED,
        "retriable_status_codes": [503],
        "num_retries": RETRIES_MAX,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
            }
        ],
        "host_selection_retry_max_attempts": HOST_CHOICES_MAX,
    }


def _health_check(face: Face) -> Json:
    if face == "grpc":
        return {"grpc_health_check": {"authority": "localhost"}}
    # Without a token a host may answer 401: that too is an answer. 503 means that it is not ready.
    return {
        "http_health_check": {
            "host": "localhost",
            "path": "/v2/health/ready",
            "expected_statuses": [{"start": 200, "end": 500}],
        }
    }


def _failed_connections() -> Json:
    """Outlier detection for nothing but failed connections: what a host answers never counts against it."""
    kinds = ("consecutive_5xx", "consecutive_gateway_failure", "success_rate", "local_origin_success_rate")
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 1,
        "enforcing_consecutive_local_origin_failure": 100,
        **{f"enforcing_{kind}": 0 for kind in kinds},
        "interval": EJECTION,
        "base_ejection_time": EJECTION,
        "max_ejection_time": EJECTION_MAX,
        "max_ejection_percent": 100,
    }


def _endpoint(address: str, part: int) -> Json:
    return {"endpoint": {"address": socket(address)}, "load_balancing_weight": part}


def socket(address: str) -> Json:
    """Envoy's form of `unix:/path` or `ip:port`."""
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, port = split_address(address)
    return {"socket_address": {"address": host, "port_value": port}}
