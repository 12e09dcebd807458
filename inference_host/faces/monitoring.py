"""What a host and its position's monitor tell each other, as messages: counts go up, orders come down.

uplink.py carries them; where a host has several processes, processes/worker.py does between these.
"""

from dataclasses import replace

import structlog

from inference_host.serving.dataplane import DataPlane
from inference_host.transport.auth import Gate
from mesh import measures
from waypost.api.link.v1.host_link_pb2 import HostMetrics, HostOrders

log = structlog.get_logger()


def take_counts(plane: DataPlane) -> HostMetrics:
    """What this process has counted since the last time."""
    counts = plane.take_counts()
    return HostMetrics(
        replica=plane.place.replica,
        window_ms=round(counts.window_s * 1000),
        requests=counts.requests,
        errors=counts.errors,
        deadline_misses=counts.deadline_misses,
        queue_depth=plane.waiting,
        latency=counts.latency.to_proto(),
        wasted_runs=counts.wasted_runs,
        inside_us=round(counts.spent.inside_s * 1e6),
        waiting_us=round(counts.spent.waiting_s * 1e6),
        busy_us=round(counts.busy_s * 1e6),
        processes=1,
        model_metrics=measures.to_protos(plane.take_measures()),
    )


def follow(orders: HostOrders, plane: DataPlane, gate: Gate) -> None:
    """Orders that were found good. Raises: Invalid(BAD_KEY_SET) for others."""
    gate.replace(orders.jwks)
    plane.place = replace(plane.place, generation=orders.generation)
    log.info("orders_taken", generation=orders.generation)
