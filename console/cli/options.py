"""Options that say what a position should be, for `deploy`, `position create` and `position update`."""

from typing import Annotated

import typer

from console.placement import Wishes, memory_bytes, scaling_targets

EdgeServerOption = Annotated[
    str | None, typer.Option("--edge-server", metavar="NAME", help="Where: edge-1. Changing it moves the position.")
]
ReplicasOption = Annotated[
    int | None, typer.Option("--replicas", metavar="N", min=1, max=64, help="Inference hosts, at least.")
]
MaxReplicasOption = Annotated[
    int | None,
    typer.Option(
        "--max-replicas",
        metavar="N",
        min=1,
        max=64,
        help="Inference hosts, at most. Where there may be more than the least, they are scaled by load.",
    ),
]
DedicatedPortOption = Annotated[
    bool | None,
    typer.Option("--dedicated-port/--no-dedicated-port", help="A gateway port of its own, for stock gRPC clients."),
]
ServeAsOption = Annotated[
    str | None,
    typer.Option("--serve-as", metavar="MODEL", help="Model name that never changes; the position's id if not given."),
]
CpuOption = Annotated[float | None, typer.Option("--cpu", metavar="CPUS", min=0, help="CPUs that one replica may use.")]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", metavar="SIZE", help="Memory that one replica may use: 512Mi, 2Gi.")
]
SoftwareOption = Annotated[
    str | None,
    typer.Option("--software-version", metavar="VERSION", help="Of its monitor and hosts; '': as its edge server's."),
]
ScaleOnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scale-on",
        metavar="TARGET",
        help="concurrency=4, queue-time=5ms, deadline-miss-rate=1%, cpu=70%, memory=80%; several; 'default': misses.",
    ),
]


def wishes(
    model_version: str | None,
    edge_server: str | None,
    replicas: int | None,
    max_replicas: int | None,
    dedicated_port: bool | None,
    serve_as: str | None,
    cpu: float | None,
    memory: str | None,
    software_version: str | None,
    scale_on: list[str] | None,
) -> Wishes:
    """What these options ask for. Raises: Invalid where `memory` is no size, or `scale_on` no targets."""
    return Wishes(
        model_version,
        edge_server,
        replicas,
        max_replicas,
        dedicated_port,
        serve_as,
        cpu,
        memory_bytes(memory) if memory else None,
        software_version,
        scaling_targets(scale_on) if scale_on else None,
    )
