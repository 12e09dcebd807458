"""Options that say what a position should be, for `deploy`, `position create` and `position update`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from console.placement import Wishes, memory_bytes, scaling_targets
from mesh.position import REPLICAS_MAX


@dataclass(frozen=True, slots=True)
class PositionOptions:
    """As given; None where nothing was. A parameter of this type is one option for each field (`session.command`)."""

    edge_server: Annotated[
        str | None, typer.Option("--edge-server", metavar="NAME", help="Where: edge-1. Changing it moves the position.")
    ] = None
    replicas: Annotated[
        int | None, typer.Option("--replicas", metavar="N", min=1, max=REPLICAS_MAX, help="Inference hosts, at least.")
    ] = None
    max_replicas: Annotated[
        int | None,
        typer.Option(
            "--max-replicas",
            metavar="N",
            min=1,
            max=REPLICAS_MAX,
            help="Inference hosts, at most. Where there may be more than the least, they are scaled by load.",
        ),
    ] = None
    dedicated_port: Annotated[
        bool | None,
        typer.Option("--dedicated-port/--no-dedicated-port", help="A gateway port of its own, for stock gRPC clients."),
    ] = None
    serve_as: Annotated[
        str | None,
        typer.Option(
            "--serve-as", metavar="MODEL", help="Model name that never changes; the position's id if not given."
        ),
    ] = None
    cpu: Annotated[
        float | None, typer.Option("--cpu", metavar="CPUS", min=0, help="CPUs that one replica may use.")
    ] = None
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Memory that one replica may use: 512Mi, 2Gi.")
    ] = None
    software_version: Annotated[
        str | None,
        typer.Option(
            "--software-version", metavar="VERSION", help="Of its monitor and hosts; '': as its edge server's."
        ),
    ] = None
    scale_on: Annotated[
        list[str] | None,
        typer.Option(
            "--scale-on",
            metavar="TARGET",
            help="concurrency=4, queue-time=5ms, deadline-miss-rate=1%, cpu=70%, memory=80%; several; "
            "'default': misses.",
        ),
    ] = None

    def wishes(self, model_version: str | None) -> Wishes:
        """What is asked for. Raises: Invalid where `memory` is no size, or `scale_on` no targets."""
        return Wishes(
            model_version=model_version,
            edge_server=self.edge_server,
            replicas=self.replicas,
            max_replicas=self.max_replicas,
            dedicated_port=self.dedicated_port,
            serve_as=self.serve_as,
            cpu=self.cpu,
            memory=memory_bytes(self.memory) if self.memory else None,
            software_version=self.software_version,
            scale_on=scaling_targets(self.scale_on) if self.scale_on else None,
        )


NOTHING_ASKED = PositionOptions()
