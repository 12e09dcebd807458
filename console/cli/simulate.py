"""`waypost simulate`: a fleet that is not there, to try a rollout or a control plane on."""

import asyncio
from typing import Annotated

import typer

from console.cli.session import Session, command, group
from console.kinds import VERSION
from mesh import text
from waypost.errors import Invalid, MeshError

app = group("")


@command(app, "simulate")
def simulate(
    session: Session,
    agents: Annotated[int, typer.Option("--agents", metavar="N", min=1, max=20_000, help="Edge servers.")] = 100,
    deploy: Annotated[
        str | None,
        typer.Option("--deploy", metavar="MODEL_VERSION", help="Of their positions. Empty: they have none."),
    ] = None,
    positions_per_agent: Annotated[
        int, typer.Option("--positions-per-agent", metavar="N", min=1, max=64, help="With --deploy.")
    ] = 1,
    then: Annotated[
        str | None, typer.Option("--then", metavar="MODEL_VERSION", help="Give all positions this one afterwards.")
    ] = None,
    deploy_seconds: Annotated[
        float, typer.Option("--deploy-seconds", metavar="S", min=0, help="From a new version until it answers.")
    ] = 2.0,
    fail_rate: Annotated[
        float, typer.Option("--fail-rate", metavar="SHARE", min=0, max=1, help="Of versions that positions refuse.")
    ] = 0.0,
    duration: Annotated[
        float, typer.Option("--duration", metavar="S", min=0, help="Of the steady state between the changes.")
    ] = 30.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the luck: who refuses, who dials when.")] = 0,
    control_plane_pid: Annotated[
        int | None,
        typer.Option(
            "--control-plane-pid", metavar="PID", help="Show what this process costs. Known for `waypost up`."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Do not delete what was made, though nobody is there.")] = False,
) -> None:
    """Drive the platform with simulated agents.

    It shows how a rollout or a control plane fares with a fleet of a size, before the real one meets it. Each agent
    enrols, dials over mutual TLS and reports as a real one does; behind it there is no machine. They get positions and
    another version, all links are cut at once, and each time it is measured how long it takes until all agree. What is
    made is named sim-... and deleted in the end. It costs the platform what a real fleet would: try it on one that
    nobody depends on.
    """
    from console import contexts
    from console.simulation import figures, stages
    from console.simulation.machine import Meter
    from console.simulation.positions import Behaviour
    from mesh import logs

    if then is not None and deploy is None:
        raise Invalid("NOTHING_TO_CHANGE", "--then changes what --deploy has deployed", "give both, or neither")
    context = contexts.select(session.context)
    pid = control_plane_pid or _pid_of(context.data_dir)
    wishes = stages.Wishes(
        agents=agents,
        model_version=VERSION.parse(deploy) if deploy else "",
        positions_per_agent=positions_per_agent,
        then=VERSION.parse(then) if then else "",
        behaviour=Behaviour(deploy_seconds, fail_rate),
        duration_s=duration,
        seed=seed,
    )
    logs.configure("simulate", level="error")  # that links break is what is simulated
    done: list[figures.Stage] = []

    def report(stage: figures.Stage) -> None:
        done.append(stage)
        session.note(f"{stage.name}: {stage.connected} of {agents} connected, {text.duration(stage.lasted_s)}")

    meter = Meter(pid) if pid else None
    try:
        asyncio.run(stages.simulate(context, wishes, report, meter=meter, clean=not keep))
    except* MeshError as errors:
        raise _first(errors) from None
    if session.json:
        session.show_json([figures.record(stage) for stage in done])
    else:
        session.table(figures.HEADER, [figures.row(stage) for stage in done], nothing="nothing was simulated")


def _pid_of(data_dir: str) -> int | None:
    """The control plane of a `waypost up` on this machine; None where there is none."""
    from pathlib import Path

    from console.local.components import CONTROL_PLANE, Layout

    return Layout(Path(data_dir)).process(CONTROL_PLANE).pid() if data_dir else None


def _first(errors: BaseExceptionGroup[MeshError]) -> MeshError:
    """What a hundred tasks say at once is nearly always the same."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
