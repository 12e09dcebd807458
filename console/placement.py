"""What a person says of a position on the command line, as a spec and the mask of what was said. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from console.kinds import EDGE_SERVER, POSITION, VERSION
from waypost import names
from waypost.api.control.v1.position_pb2 import Position, ScalingTargets
from waypost.errors import Invalid


@dataclass(frozen=True, slots=True)
class Wishes:
    """None means: not said, leave it as it is."""

    model_version: str | None = None
    edge_server: str | None = None
    replicas: int | None = None
    max_replicas: int | None = None
    dedicated_port: bool | None = None
    serve_as: str | None = None
    cpu: float | None = None
    """CPUs that one replica may use."""
    memory: int | None = None
    """Bytes that one replica may use."""
    software_version: str | None = None
    scale_on: ScalingTargets | None = None


def position_with(name: str, wishes: Wishes) -> tuple[Position, list[str]]:
    """A position (full name) with what was said, and the paths of those fields. Raises: Invalid(BAD_NAME)."""
    position = Position(name=name)
    spec = position.spec
    paths = []
    if wishes.model_version is not None:
        spec.model_version = VERSION.parse(wishes.model_version)
        paths.append("spec.model_version")
    if wishes.edge_server is not None:
        spec.edge_server = EDGE_SERVER.parse(wishes.edge_server)
        paths.append("spec.edge_server")
    if wishes.replicas is not None:
        # Both bounds: `--replicas 3` after `--replicas 1 --max-replicas 2` must not leave a maximum below the minimum.
        spec.replicas.min, spec.replicas.max = wishes.replicas, wishes.max_replicas or 0
        paths.append("spec.replicas")
    elif wishes.max_replicas is not None:
        spec.replicas.max = wishes.max_replicas
        paths.append("spec.replicas.max")
    if wishes.dedicated_port is not None:
        spec.endpoint.dedicated_port = wishes.dedicated_port
        paths.append("spec.endpoint.dedicated_port")
    if wishes.serve_as is not None:
        spec.serve_as = wishes.serve_as
        paths.append("spec.serve_as")
    if wishes.cpu is not None:
        spec.resources.cpu_millis = round(wishes.cpu * 1000)
        paths.append("spec.resources.cpu_millis")
    if wishes.memory is not None:
        spec.resources.memory_bytes = wishes.memory
        paths.append("spec.resources.memory_bytes")
    if wishes.software_version is not None:
        spec.software_version = wishes.software_version
        paths.append("spec.software_version")
    if wishes.scale_on is not None:
        spec.autoscaling.targets.CopyFrom(wishes.scale_on)
        paths.append("spec.autoscaling.targets")
    return position, paths


def position_name(name: str, model_version: str) -> str:
    """The full name of a position; a bare id is one of the model version's application. Raises: Invalid(BAD_NAME)."""
    if "/" in name:
        return POSITION.parse(name)
    project, application, *_ = names.short(VERSION.parse(model_version)).split("/")
    return POSITION.parse(f"{project}/{application}/{name}")


_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "K": 10**3, "M": 10**6, "G": 10**9}


def memory_bytes(text: str) -> int:
    """Bytes of `512Mi`, `1.5G`, `1073741824`. Raises: Invalid(BAD_SIZE)."""
    digits = text.rstrip("KMGi")
    unit = text[len(digits) :]
    try:
        return int(float(digits) * _UNITS[unit])
    except (KeyError, ValueError) as error:
        raise Invalid("BAD_SIZE", f"{text!r} is no amount of memory", "write it as 512Mi, 2Gi or in bytes") from error


_DURATIONS_US = {"us": 1, "ms": 1000, "s": 1_000_000}


def scaling_targets(texts: Iterable[str]) -> ScalingTargets:
    """Targets of `cpu=0.7`, `concurrency=4`, `queue-time=5ms`, `deadline-miss-rate=1%`; of `default`, none.

    Raises: Invalid(BAD_TARGET).
    """
    targets = ScalingTargets()
    for text in texts:
        name, equals, value = text.partition("=")
        field = name.replace("-", "_")
        if text == "default":
            continue
        if not equals or field not in targets.DESCRIPTOR.fields_by_name:
            raise _bad_target(text)
        try:
            if field == "queue_time":
                targets.queue_time.FromMicroseconds(_microseconds(value))
            else:
                setattr(targets, field, float(value.removesuffix("%")) / (100 if value.endswith("%") else 1))
        except (KeyError, ValueError) as error:
            raise _bad_target(text) from error
    return targets


def _microseconds(text: str) -> int:
    number = text.rstrip("ums")
    return round(float(number) * _DURATIONS_US[text[len(number) :]])


def _bad_target(text: str) -> Invalid:
    known = ", ".join(name.replace("_", "-") for name in ScalingTargets.DESCRIPTOR.fields_by_name)
    hint = f"for example concurrency=4, queue-time=5ms, cpu=70%; known: {known}; or: default"
    return Invalid("BAD_TARGET", f"{text!r} is nothing to scale on", hint)
