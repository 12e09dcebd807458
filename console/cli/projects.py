"""`waypost project`."""

from typing import Annotated, Any

import typer

from console.cli import verbs
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, DisplayNameOption, LabelOption, RemoveLabelOption
from console.kinds import PROJECT
from console.placement import memory_bytes

app = group("Projects: the top of the hierarchy.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example uav.")]


PositionsOption = Annotated[
    int | None, typer.Option("--quota-positions", metavar="N", min=0, help="Positions at most; 0: no limit.")
]
ReplicasOption = Annotated[
    int | None,
    typer.Option("--quota-replicas", metavar="N", min=0, help="Replicas at most, in all; 0: no limit."),
]
CpuOption = Annotated[
    float | None, typer.Option("--quota-cpu", metavar="CPUS", min=0, help="CPUs at most, in all; 0: no limit.")
]
MemoryOption = Annotated[
    str | None,
    typer.Option("--quota-memory", metavar="SIZE", help="Memory at most, in all: 64Gi; 0: no limit."),
]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
    quota_positions: PositionsOption = None,
    quota_replicas: ReplicasOption = None,
    quota_cpu: CpuOption = None,
    quota_memory: MemoryOption = None,
) -> None:
    """Create a project; without a quota, it may have anything."""
    project = PROJECT.new(PROJECT.parse(name))
    verbs.set_fields(project, {"display_name": display_name, "description": description})
    project.labels.update(verbs.parse_labels(label))
    _set_quota(project, quota_positions, quota_replicas, quota_cpu, quota_memory)
    verbs.done(session, PROJECT, session.resources.create(PROJECT, project), "created")


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one project."""
    verbs.get(session, PROJECT, name)


@command(app, "list")
def list_(session: Session) -> None:
    """List projects."""
    verbs.list_(session, PROJECT)


@command(app, "update")
def update(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
    quota_positions: PositionsOption = None,
    quota_replicas: ReplicasOption = None,
    quota_cpu: CpuOption = None,
    quota_memory: MemoryOption = None,
) -> None:
    """Change a project's texts, labels and quota.

    A quota below what is there already stops nothing that runs: only asking for more is refused.
    """
    project = PROJECT.new(PROJECT.parse(name))
    paths = verbs.set_fields(project, {"display_name": display_name, "description": description})
    paths += _set_quota(project, quota_positions, quota_replicas, quota_cpu, quota_memory)
    verbs.update_paths(session, PROJECT, project, paths, label, remove_label)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete a project that owns no applications."""
    verbs.delete(session, PROJECT, name)


def _set_quota(
    project: Any, positions: int | None, replicas: int | None, cpu: float | None, memory: str | None
) -> list[str]:
    """Sets what was given; the paths of that. Raises: Invalid where `memory` is no size."""
    cpu_millis = None if cpu is None else round(cpu * 1000)
    bytes_ = None if memory is None else 0 if memory == "0" else memory_bytes(memory)
    fields = {"positions": positions, "replicas": replicas, "cpu_millis": cpu_millis, "memory_bytes": bytes_}
    return [f"spec.quota.{field}" for field in verbs.set_fields(project.spec.quota, fields)]
