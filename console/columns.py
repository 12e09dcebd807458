"""What `list` and `status` show of each kind: a header, and a row for a resource. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from console import messages
from console.kinds import APPLICATION, EDGE_SERVER, MODEL, POSITION, PROJECT, SUBSCRIPTION, VERSION, Kind
from mesh import text
from waypost import names
from waypost.api.control.v1.condition_pb2 import Condition, ConditionStatus
from waypost.api.control.v1.position_pb2 import Position, ReplicaState


@dataclass(frozen=True, slots=True)
class Columns:
    header: tuple[str, ...]
    row: Callable[[Any, float], tuple[str, ...]]
    """Cells of a resource, given the wall time in seconds."""


def rows(kind: Kind, resources: Iterable[Any], now: float) -> list[tuple[str, ...]]:
    return [COLUMNS[kind].row(resource, now) for resource in resources]


def replicas(position: Position) -> str:
    """`2/2`, `1/2`, `3/2-8`: those ready, of those asked for."""
    ready = replicas_ready(position)
    least = position.spec.replicas.min or 1
    most = position.spec.replicas.max or least
    return f"{ready}/{least}" if most == least else f"{ready}/{least}-{most}"


def replicas_ready(position: Position) -> int:
    return sum(replica.state == ReplicaState.REPLICA_STATE_READY for replica in position.status.replicas)


def model_version(position: Position) -> str:
    """`lstm/3`: the application is the position's own."""
    return "/".join(names.short(position.spec.model_version).split("/")[-2:])


def software(position: Position) -> str:
    """`0.2.0`; `0.1.0, 0.2.0` while it changes: what its replicas run."""
    return ", ".join(sorted({replica.software_version for replica in position.status.replicas} - {""}))


def problem(conditions: Iterable[Condition]) -> str:
    """The first thing that is not as it should be, in words; empty where all is well."""
    for condition in messages.failing(conditions):
        return f"{condition.type}: {condition.message or condition.reason}"
    return ""


def connected(conditions: Iterable[Condition]) -> str:
    """`yes`, or what is wrong, of the condition Connected; empty where nothing has said yet."""
    for condition in conditions:
        if condition.type == "Connected":
            true = condition.status == ConditionStatus.CONDITION_STATUS_TRUE
            return "yes" if true else condition.message or condition.reason
    return ""


def _described(resource: Any, now: float) -> tuple[str, ...]:
    created = messages.age(resource.create_time, now)
    return names.short(resource.name), created, resource.display_name or resource.description


def _imported(resource: Any, now: float) -> tuple[str, ...]:
    name, created, title = _described(resource, now)
    return name, names.leaf(resource.subscription), created, title


def _version(version: Any, now: float) -> tuple[str, ...]:
    published = messages.age(version.publish_time if version.HasField("publish_time") else version.create_time, now)
    note = problem(version.conditions) or version.description
    return names.short(version.name), messages.word(version, "state"), version.framework, published, note


def _position(position: Any, now: float) -> tuple[str, ...]:
    return (
        names.short(position.name),
        messages.word(position.status, "state"),
        replicas(position),
        names.leaf(position.spec.edge_server),
        messages.age(position.update_time, now),
        software(position),
        model_version(position),
    )


def _edge_server(server: Any, now: float) -> tuple[str, ...]:
    status = server.status
    capacity = f"{status.capacity.cpu_millis / 1000:g} CPU, {text.size(status.capacity.memory_bytes)}"
    return (
        names.short(server.name),
        messages.word(status, "state"),
        messages.age(status.last_seen_time, now),
        status.agent_version,
        status.driver,
        capacity if status.HasField("capacity") else "",
        status.gateway_address,
    )


def _subscription(subscription: Any, now: float) -> tuple[str, ...]:
    return (
        names.short(subscription.name),
        names.leaf(subscription.spec.project),
        str(subscription.status.sequence),
        connected(subscription.status.conditions),
        subscription.spec.endpoint,
    )


COLUMNS = {
    PROJECT: Columns(("NAME", "CREATED", "TITLE"), _described),
    APPLICATION: Columns(("NAME", "FROM", "CREATED", "TITLE"), _imported),
    MODEL: Columns(("NAME", "FROM", "CREATED", "TITLE"), _imported),
    VERSION: Columns(("NAME", "STATE", "FRAMEWORK", "PUBLISHED", "NOTE"), _version),
    POSITION: Columns(("NAME", "STATE", "REPLICAS", "AT", "CHANGED", "SOFTWARE", "MODEL"), _position),
    EDGE_SERVER: Columns(("NAME", "STATE", "LAST SEEN", "AGENT", "DRIVER", "CAPACITY", "GATEWAY"), _edge_server),
    SUBSCRIPTION: Columns(("NAME", "PROJECT", "SEQUENCE", "CONNECTED", "ENDPOINT"), _subscription),
}
