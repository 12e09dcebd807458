"""`waypost up` and `waypost down`: a whole platform on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from console.cli.session import Session, command, group
from console.local import choices, stopping, up
from console.local.choices import PORT_BASE
from console.local.components import Layout
from console.local.raising import Raised

app = group("")

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", metavar="DIR", help="Where everything of the platform is kept.")
]


@command(app, "up", platform=False)
def up_(
    session: Session,
    data_dir: DataDirOption = Path(".waypost"),
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready, and leave it running.")
    ] = False,
    training: Annotated[
        Path | None, typer.Option("--training", metavar="DIR", help="Models to publish [default: DATA_DIR/training].")
    ] = None,
    project: Annotated[str | None, typer.Option("--project", help="What they fill [default: demo].")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the context to write [default: local].")] = None,
    edge_server: Annotated[
        str | None, typer.Option("--edge-server", help="This machine's name [default: edge-1].")
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option("--port-base", metavar="N", help=f"Shift all ports: N is the API's [default: {PORT_BASE}]."),
    ] = None,
    api_port: Annotated[int | None, typer.Option("--api-port", metavar="PORT", help="[default: 7600]")] = None,
    link_port: Annotated[
        int | None, typer.Option("--link-port", metavar="PORT", help="For agents [default: 7601].")
    ] = None,
    training_port: Annotated[
        int | None, typer.Option("--training-port", metavar="PORT", help="[default: 7610]")
    ] = None,
    gateway_port: Annotated[
        int | None, typer.Option("--gateway-port", metavar="PORT", help="For xApps [default: 7680].")
    ] = None,
    position_ports: Annotated[
        str | None,
        typer.Option(
            "--position-ports", metavar="FIRST-LAST", help="For positions with their own [default: 7700-7799]."
        ),
    ] = None,
) -> None:
    """Run the whole platform on this machine.

    Training platform, control plane, edge agent and gateway, on loopback, with one data directory. In the foreground
    it follows what happens, and Ctrl-C stops everything. What it started outlives it if it is killed, and is adopted
    by the next `waypost up` or stopped by `waypost down`. What was chosen once is remembered in the data directory.
    """
    layout = Layout(data_dir.resolve())
    chosen = choices.changed(
        choices.remembered(layout.choices),
        port_base,
        ports={
            "api": api_port,
            "link": link_port,
            "training": training_port,
            "gateway": gateway_port,
            "positions": position_ports,
        },
        rest={
            "context": name,
            "project": project,
            "edge_server": edge_server,
            "training": str(training.resolve()) if training is not None else None,
        },
    )
    choices.check(chosen)
    session.say(f"waypost in {layout.data_dir}\n")
    if not detach:
        up.foreground(layout, chosen, session.say, lambda raised: _ready(session, layout, raised, detached=False))
    else:
        _ready(session, layout, up.detached(layout, chosen, session.say), detached=True)


@command(app, "down", platform=False)
def down(session: Session, data_dir: DataDirOption = Path(".waypost")) -> None:
    """Stop what `waypost up` runs, and everything at positions; harmless where nothing runs."""
    stopped: list[str] = []

    def tell(line: str) -> None:
        stopped.append(line)
        session.say(line)

    layout = Layout(data_dir.resolve())
    if not asyncio.run(stopping.stop_everything(layout, tell)):
        session.note(f"nothing runs in {layout.data_dir}")
    if session.json:
        session.show_json({"stopped": stopped})


def _ready(session: Session, layout: Layout, raised: Raised, *, detached: bool) -> None:
    if session.json:
        session.show_json(_summary(layout, raised))
        return
    where = "" if layout.data_dir == Path(".waypost").resolve() else f" --data-dir {layout.data_dir}"
    print(f"\nready; commands speak to it (context {raised.context.name})\n")
    for line, meaning in (
        ("waypost status", "what there is"),
        ("waypost model version list", "what can be deployed"),
        ("waypost deploy VERSION --position NAME --wait", "put a model at a position"),
        ("waypost watch POSITION", "look at it live"),
        (f"waypost down{where}", "stop everything"),
    ):
        print(f"  {line:48}{meaning}")
    if not detached:
        print("\nCtrl-C stops everything, too. What happens from now on:\n", flush=True)


def _summary(layout: Layout, raised: Raised) -> dict[str, object]:
    processes = {component.name: component.process.pid() for component in raised.components}
    return {
        "data_dir": str(layout.data_dir),
        "context": raised.context.name,
        "context_file": str(layout.context),
        "address": raised.context.address,
        "gateway": raised.gateway,
        "training": raised.training,
        "processes": {**processes, "supervisor": layout.process("supervisor").pid()},
    }
