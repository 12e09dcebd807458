"""PURE: which call is for which position, and for which face of it.

The path alone says which face: gRPC services, `/v2` and below, the JSON paths of xapp.v1. So there is one short list
of routes, whatever the number of positions, and it is the same behind the prefix `/positions/<uid>`, which it strips.
Which position is a look-up in maps, made when a route has been found (Envoy's matcher cluster specifier): the header
`waypost-position` first, then the authority `<uid>.<domain>`, then the path prefix; the first that names a position
of this edge server decides. Routes per position, Envoy's usual way, would cost forty-five of them for each and a scan
over all of them for each call.

A dedicated port needs no look-up: its listener has the same routes, and they lead to the clusters of its position.
"""

import re
from collections.abc import Callable, Iterable

from edge_agent.gateways.envoy import transcoding
from edge_agent.gateways.envoy.clusters import FACES, Face, cluster_name
from edge_agent.gateways.envoy.typed import Json, extension, typed
from edge_agent.gateways.routes import PositionRoute

BODY_BYTES_MAX = 64 << 20  # the same number at SDK, gateway and host; of messages that are sent as one
BUFFER = "envoy.filters.http.buffer"

OIP_SERVICE = "inference.GRPCInferenceService"
STREAMS = (f"/{OIP_SERVICE}/ModelStreamInfer",)
"""Methods that take a stream: it has no length, and nothing of it may be held back."""

Choose = Callable[[Face], Json]
"""Fields of a RouteAction that say which cluster takes the call."""


def main_routes(routes: Iterable[PositionRoute], domain: str) -> Json:
    """The route configuration of the main listener."""
    known = tuple(routes)
    if not known:  # a matcher must have something in it; a cluster that is not there refuses calls in the same way
        return typed("config.route.v3.RouteConfiguration", **_configuration("main", lambda _: {"cluster": "nobody"}))
    return typed(
        "config.route.v3.RouteConfiguration",
        **_configuration("main", lambda face: {"cluster_specifier_plugin": face}),
        cluster_specifier_plugins=[{"extension": _by_address(face, known, domain)} for face in FACES],
    )


def dedicated_routes(uid: str) -> Json:
    """The route configuration of a listener that carries one position's calls only."""
    return _configuration(uid, lambda face: {"cluster": cluster_name(uid, face)})


def _configuration(name: str, choose: Choose) -> Json:
    routes = [*_routes(choose, prefixed=False), *_routes(choose, prefixed=True)]
    everything = {"name": "all", "domains": ["*"], "routes": routes, "request_body_buffer_limit": BODY_BYTES_MAX}
    return {"name": name, "virtual_hosts": [everything]}


def _routes(choose: Choose, *, prefixed: bool) -> list[Json]:
    """In the order in which they are tried."""
    unbuffered = {BUFFER: typed("extensions.filters.http.buffer.v3.BufferPerRoute", disabled=True)}
    transcoded = {transcoding.NAME: typed("config.route.v3.FilterConfig", config={}, disabled=False)}
    access, inference = transcoding.ACCESS, transcoding.INFERENCE
    return [
        *(_route(_exactly(path, prefixed), choose("grpc"), unbuffered, grpc=True) for path in STREAMS),
        _route(_below(f"/{OIP_SERVICE}", prefixed), choose("grpc"), grpc=True),
        _route(_below(f"/{inference.full_name}", prefixed), choose("grpc"), grpc=True),
        _route(_below(f"/{access.full_name}", prefixed), choose("access"), grpc=True),
        _route(_at_or_below("/v2", prefixed), choose("http")),
        *(_route(_exactly(p, prefixed), choose("grpc"), transcoded) for p in transcoding.json_paths(inference)),
        *(_route(_exactly(p, prefixed), choose("access"), transcoded) for p in transcoding.json_paths(access)),
    ]


_PREFIX = "/positions/[^/]+"


def _exactly(path: str, prefixed: bool) -> Json:
    return {"safe_regex": {"regex": _PREFIX + re.escape(path)}} if prefixed else {"path": path}


def _below(path: str, prefixed: bool) -> Json:
    return {"safe_regex": {"regex": f"{_PREFIX}{re.escape(path)}/.*"}} if prefixed else {"prefix": f"{path}/"}


def _at_or_below(path: str, prefixed: bool) -> Json:
    if prefixed:
        return {"safe_regex": {"regex": f"{_PREFIX}{re.escape(path)}(/.*)?"}}
    return {"path_separated_prefix": path}


def _route(match: Json, cluster: Json, filters: Json | None = None, *, grpc: bool = False) -> Json:
    action = {
        **cluster,
        "cluster_not_found_response_code": "NOT_FOUND",
        # No limit of ours. A caller's own is kept: the deadline of gRPC, waypost-timeout-ms of HTTP (listeners.py).
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
    }
    if "safe_regex" in match:
        action["regex_rewrite"] = {"pattern": {"regex": f"^{_PREFIX}(/.*)$"}, "substitution": r"\1"}
    return {
        "match": {**match, "grpc": {}} if grpc else match,
        "route": action,
        "typed_per_filter_config": filters or {},
    }


def _by_address(face: Face, routes: tuple[PositionRoute, ...], domain: str) -> Json:
    """The plugin that finds the cluster of the position which a call names."""
    to = {route.uid: _to(cluster_name(route.uid, face)) for route in routes}
    paths = {f"/positions/{uid}/": cluster for uid, cluster in to.items()}
    authorities = {f"{uid}.{domain.lower()}": cluster for uid, cluster in to.items()}
    headers = {key: to[route.uid] for route in routes for key in route.keys}
    by_path = _tree(":path", "prefix_match_map", paths)
    by_authority = _tree(":authority", "exact_match_map", authorities, by_path)
    return extension(
        "router.cluster_specifier_plugin.matcher",
        "extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier",
        cluster_matcher=_tree("waypost-position", "exact_match_map", headers, by_authority),
    ) | {"name": face}


def _tree(header: str, kind: str, branches: Json, otherwise: Json | None = None) -> Json:
    """A matcher that looks a header up in a map, and goes on to `otherwise` where it is not there."""
    source = {"name": header, "typed_config": typed("type.matcher.v3.HttpRequestHeaderMatchInput", header_name=header)}
    tree: Json = {"matcher_tree": {"input": source, kind: {"map": branches}}}
    return tree | {"on_no_match": {"matcher": otherwise}} if otherwise else tree


def _to(cluster: str) -> Json:
    action = typed("extensions.router.cluster_specifiers.matcher.v3.ClusterAction", cluster=cluster)
    return {"action": {"name": "to", "typed_config": action}}
