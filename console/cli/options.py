"""Options that say what a position should be, for `deploy`, `position create` and `position update`."""

from typing import Annotated

import typer

EdgeServerOption = Annotated[
    str | None, typer.Option("--edge-server", metavar="NAME", help="Where: edge-1. Changing it moves the position.")
]
ReplicasOption = Annotated[
    int | None, typer.Option("--replicas", metavar="N", min=1, max=64, help="Inference hosts, at least.")
]
MaxReplicasOption = Annotated[
    int | None,
    typer.Option("--max-replicas", metavar="N", min=1, max=64, help="Inference hosts, at most; as many as at least."),
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
