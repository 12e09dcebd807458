"""What a position did lately, as rates and percentiles, and as a page for a terminal. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from console import columns, messages
from mesh import text
from mesh.metrics import Histogram
from waypost import names
from waypost.api.control.v1.position_pb2 import LatencyHistogram, ModelMetric, Position, PositionMetrics, ReplicaMetrics

BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, in seconds; zeros where nothing was measured."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, message: LatencyHistogram) -> Self:
        histogram = Histogram.from_proto(message)
        return cls(histogram.total, *(histogram.percentile(share) for share in (0.5, 0.95, 0.99)))

    def __str__(self) -> str:
        if not self.count:
            return "nothing measured"
        shown = (("p50", self.p50_s), ("p95", self.p95_s), ("p99", self.p99_s))
        return "   ".join(f"{name} {text.duration(seconds):>8}" for name, seconds in shown)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one window of one position."""

    requests_per_s: float
    errors_per_s: float
    deadline_misses_per_s: float
    wasted_runs_per_s: float
    """Calls that were run for nobody."""
    queue_depth: int
    concurrency: float
    """Calls inside the hosts at a time, waiting or being answered."""
    queue_time_s: float
    """That a call waited for the model."""
    utilization: float
    """Share of what the replicas can do that they did, 0..1."""
    latency: Percentiles
    closed_loop: Percentiles
    loops_failed_per_s: float
    """Closed loops without an action; `closed_loop` does not hold them."""
    loops_late_per_s: float
    cpu: float
    """CPUs in use: 0.25 is a quarter of one."""
    cpu_share: float
    """Of the edge server, 0..1."""
    memory_bytes: int
    memory_share: float
    model_metrics: Mapping[str, Mapping[str, Any]]
    """What templates counted and measured themselves, by name."""

    @classmethod
    def of(cls, metrics: PositionMetrics) -> Self:
        window_s = _window_s(metrics)
        return cls(
            requests_per_s=metrics.requests / window_s,
            errors_per_s=metrics.errors / window_s,
            deadline_misses_per_s=metrics.deadline_misses / window_s,
            wasted_runs_per_s=metrics.wasted_runs / window_s,
            queue_depth=metrics.queue_depth,
            concurrency=metrics.concurrency,
            queue_time_s=metrics.queue_time_ms / 1000,
            utilization=metrics.utilization,
            latency=Percentiles.of(metrics.latency),
            closed_loop=Percentiles.of(metrics.closed_loop),
            loops_failed_per_s=metrics.loops_failed / window_s,
            loops_late_per_s=metrics.loops_late / window_s,
            cpu=metrics.cpu,
            cpu_share=metrics.cpu_share,
            memory_bytes=metrics.memory_bytes,
            memory_share=metrics.memory_share,
            model_metrics=_model_metrics(metrics),
        )


def record(position: Position, metrics: PositionMetrics | None, time_s: float) -> dict[str, Any]:
    """One line of `watch -o json`: state, and figures (null while the edge sends none). time_s: wall clock."""
    return {
        "time": messages.iso_utc(time_s),
        "position": position.name,
        "state": messages.word(position.status, "state"),
        "message": position.status.message,
        "generation": position.generation,
        "replicas_ready": columns.replicas_ready(position),
        "replicas": len(position.status.replicas),
        "figures": asdict(Figures.of(metrics)) if metrics is not None else None,
    }


def page(
    position: Position, metrics: PositionMetrics | None, history: Sequence[float], width: int, trouble: str = ""
) -> str:
    """What `watch` draws.

    history: requests per second lately, the newest last. width: columns of the terminal. trouble: why news may be
    missing.
    """
    trouble = f"({trouble})" if trouble else ""
    return "\n".join(
        (
            *_head(position, width),
            trouble,
            *_middle(metrics, history, width),
            *_own(metrics),
            "",
            _replicas(position, metrics),
        )
    )


def sparkline(values: Sequence[float], length: int) -> str:
    """The newest `length` values as bars, scaled to the largest."""
    shown = values[-length:]
    top = max(shown, default=0.0)
    return "".join(BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] if top else BARS[0] for value in shown)


def _head(position: Position, width: int) -> list[str]:
    name, state = names.short(position.name), messages.word(position.status, "state")
    version, place = names.short(position.spec.model_version), names.short(position.spec.edge_server)
    lines = [
        f"{name}{state:>{max(1, width - len(name))}}",
        position.status.message,
        f"{version} at {place}, generation {position.generation}, {columns.replicas(position)} replicas ready",
    ]
    if position.status.hint:
        lines.append(f"hint: {position.status.hint}")
    return lines


def _middle(metrics: PositionMetrics | None, history: Sequence[float], width: int) -> list[str]:
    if metrics is None:
        return ["no figures from the edge yet"]
    f = Figures.of(metrics)
    rates = f"{f.requests_per_s:.1f}/s"
    return [
        f"requests     {rates:>9}  {sparkline(history, max(0, min(60, width - 24)))}",
        f"             {f.errors_per_s:.1f}/s errors, {f.deadline_misses_per_s:.1f}/s late, {f.queue_depth} waiting",
        f"load         {f.concurrency:.1f} at a time, {text.duration(f.queue_time_s)} in the queue,"
        f" {text.share(f.utilization)} busy",
        f"latency      {f.latency}",
        f"closed loop  {f.closed_loop}",
        f"             {f.loops_failed_per_s:.1f}/s failed, {f.loops_late_per_s:.1f}/s late",
        f"cpu          {f.cpu:.2f} ({text.share(f.cpu_share)} of the server)",
        f"memory       {text.size(f.memory_bytes)} ({text.share(f.memory_share)} of the server)",
    ]


def _model_metrics(metrics: PositionMetrics) -> dict[str, dict[str, Any]]:
    """Of all replicas together; a gauge's values are those of the replicas, which do not add up."""
    window_s = _window_s(metrics)
    found = {metric.name: _model_metric(metric, window_s) for metric in metrics.model_metrics}
    for replica in metrics.replicas:
        for metric in replica.model_metrics:
            if metric.WhichOneof("value") == "gauge":
                entry = found.setdefault(metric.name, {"kind": "gauge", "help": metric.help, "values": {}})
                if entry["kind"] == "gauge":
                    entry["values"][replica.id] = metric.gauge
    return {name: found[name] for name in sorted(found)}


def _model_metric(metric: ModelMetric, window_s: float) -> dict[str, Any]:
    """One that adds up."""
    if metric.WhichOneof("value") == "counter":
        return {"kind": "counter", "help": metric.help, "per_s": metric.counter / window_s}
    observed = Histogram.from_proto(metric.histogram)
    shares = {f"p{round(share * 100)}": observed.percentile(share) for share in (0.5, 0.95, 0.99)}
    return {"kind": "histogram", "help": metric.help, "count": observed.total, **shares}


def _own(metrics: PositionMetrics | None) -> list[str]:
    """A line for each metric of the template's own."""
    found = _model_metrics(metrics) if metrics is not None else {}
    if not found:
        return []
    return ["", text.table(("MODEL METRIC", "VALUE"), [(name, _value(entry)) for name, entry in found.items()])]


def _value(entry: Mapping[str, Any]) -> str:
    match entry["kind"]:
        case "counter":
            return f"{entry['per_s']:.4g}/s"
        case "gauge":
            return "  ".join(f"{value:.4g}" for value in entry["values"].values())
    if not entry["count"]:
        return "nothing measured"
    return "   ".join(f"{name} {entry[name]:.3g}" for name in ("p50", "p95", "p99"))


def _replicas(position: Position, metrics: PositionMetrics | None) -> str:
    measured = {replica.id: replica for replica in metrics.replicas} if metrics is not None else {}
    window_s = _window_s(metrics) if metrics is not None else 1.0
    rows = [
        (replica.id, messages.word(replica, "state"), *_replica_cells(measured.get(replica.id), window_s))
        for replica in position.status.replicas
    ]
    header = ("REPLICA", "STATE", "REQ/S", "ERR/S", "P50", "P99", "BUSY", "CPU", "MEMORY")
    return text.table(header, rows) if rows else "no replicas"


def _replica_cells(replica: ReplicaMetrics | None, window_s: float) -> tuple[str, ...]:
    if replica is None:
        return ("",) * 7
    latency = Percentiles.of(replica.latency)
    return (
        f"{replica.requests / window_s:.1f}",
        f"{replica.errors / window_s:.1f}",
        text.duration(latency.p50_s) if latency.count else "",
        text.duration(latency.p99_s) if latency.count else "",
        text.share(replica.utilization),
        f"{replica.cpu:.2f}",
        text.size(replica.memory_bytes),
    )


def _window_s(metrics: PositionMetrics) -> float:
    return metrics.window_ms / 1000 or 1.0
