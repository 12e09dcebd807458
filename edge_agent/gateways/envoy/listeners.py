"""PURE: where calls come in. One listener for everybody, and one for each dedicated port.

HTTP/1.1 and HTTP/2 share a port; Envoy tells them apart by their first bytes, or by ALPN under TLS.
"""

from edge_agent.gateways.envoy import transcoding
from edge_agent.gateways.envoy.bootstrap import watched
from edge_agent.gateways.envoy.replies import local_replies
from edge_agent.gateways.envoy.routing import BODY_BYTES_MAX, BUFFER, dedicated_routes
from edge_agent.gateways.envoy.settings import EnvoySettings
from edge_agent.gateways.envoy.typed import Json, extension, typed
from edge_agent.gateways.routes import PositionRoute

MAIN = "main"
STREAM_IDLE_TIMEOUT = "3600s"  # of a stream on which nothing moves: watches of endpoints are quiet for long
HEADERS_TIMEOUT = "10s"  # for a request's headers to arrive: a caller that trickles them must not hold a connection
STREAMS_MAX = 1024  # of one HTTP/2 connection
PING_INTERVAL = "30s"  # finds callers that are gone
PING_TIMEOUT = "20s"

TIMEOUT_HEADER = "waypost-timeout-ms"
NOBODY = [{"address_prefix": "255.255.255.255", "prefix_len": 32}]  # no caller's x-envoy-* headers are believed


def main_listener(settings: EnvoySettings) -> Json:
    routes = {"rds": {"route_config_name": MAIN, "config_source": watched(settings.data_dir / "rds.json")}}
    return _listener(settings, MAIN, settings.port, routes)


def dedicated_listener(settings: EnvoySettings, route: PositionRoute) -> Json:
    name = f"port-{route.dedicated_port}"
    return _listener(settings, name, route.dedicated_port, {"route_config": dedicated_routes(route.uid)})


def witness_listener(settings: EnvoySettings) -> Json:
    """Serves the word that came with the last table (witness.py)."""
    routes = {"route_config_name": "witness", "config_source": watched(settings.data_dir / "witness.json")}
    manager = extension(
        "filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="witness",
        rds=routes,
        http_filters=[extension("filters.http.router", "extensions.filters.http.router.v3.Router")],
    )
    return typed(
        "config.listener.v3.Listener",
        name="witness",
        address={"pipe": {"path": str(settings.witness_socket), "mode": 0o600}},
        connection_balance_config={"exact_balance": {}},
        filter_chains=[{"filters": [manager]}],
    )


def witness_routes(word: str) -> Json:
    said = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": word}}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [said]}]
    return typed("config.route.v3.RouteConfiguration", name="witness", virtual_hosts=hosts)


def _listener(settings: EnvoySettings, name: str, port: int, routes: Json) -> Json:
    chain: Json = {"filters": [_connection_manager(settings, name, routes)]}
    if settings.certificate:
        chain["transport_socket"] = _tls(settings)
    return typed(
        "config.listener.v3.Listener",
        name=name,
        address={"socket_address": {"address": settings.host, "port_value": port}},
        enable_reuse_port=False,  # two gateways must never share a port unnoticed
        filter_chains=[chain],
    )


def _connection_manager(settings: EnvoySettings, name: str, routes: Json) -> Json:
    return extension(
        "filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        codec_type="AUTO",
        **routes,
        http_filters=_filters(),
        local_reply_config=local_replies(settings.domain, BODY_BYTES_MAX),
        use_remote_address=True,
        internal_address_config={"cidr_ranges": NOBODY},
        strip_any_host_port=True,
        normalize_path=True,
        merge_slashes=True,
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        stream_idle_timeout=STREAM_IDLE_TIMEOUT,
        request_headers_timeout=HEADERS_TIMEOUT,
        http2_protocol_options={
            "max_concurrent_streams": STREAMS_MAX,
            "connection_keepalive": {"interval": PING_INTERVAL, "timeout": PING_TIMEOUT},
        },
    )


def _filters() -> list[Json]:
    """In the order in which a request passes them."""
    timeout = {
        "header": {"key": "x-envoy-upstream-rq-timeout-ms", "value": f"%REQ({TIMEOUT_HEADER})%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return [
        extension(
            "filters.http.header_mutation",
            "extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"append": timeout}]},
        ),
        extension(
            BUFFER.removeprefix("envoy."),
            "extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=BODY_BYTES_MAX,
        ),
        # Only routes of JSON paths turn it on: what is gRPC already, and /v2, never meet it.
        {"name": transcoding.NAME, "disabled": True, "typed_config": transcoding.transcoder(BODY_BYTES_MAX)},
        extension("filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
    ]


def _tls(settings: EnvoySettings) -> Json:
    secret = {"name": "gateway", "sds_config": watched(settings.data_dir / "sds.json")}
    return extension(
        "transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [secret],
        },
    )


def secret(settings: EnvoySettings) -> Json:
    """The certificate, by its files; Envoy reads them again when something is renamed in their directory."""
    assert settings.certificate
    return typed(
        "extensions.transport_sockets.tls.v3.Secret",
        name="gateway",
        tls_certificate={
            "certificate_chain": {"filename": str(settings.certificate)},
            "private_key": {"filename": str(settings.key or settings.certificate)},
            "watched_directory": {"path": str(settings.certificate.parent)},
        },
    )
