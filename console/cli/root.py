"""What `waypost` can do, and where it is: a module per group, imported when its command runs.

Only the names and the first lines of the help are here, so that `waypost --help` loads no gRPC, no YAML and none of
the commands. A test holds each line against the help of the command itself.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from console.cli import COMPONENTS, run_component
from console.cli.session import INTERRUPTED, USAGE, ContextOption, Output, print_error

EPILOGUE = """\b
Exit codes: 0 done; 1 failed; 2 the command line or a spec is wrong;
3 not found; 4 no platform answers; 5 not there in time; 130 interrupted.

\b
Names are short (uav/path-prediction/tower-7) or full
(projects/uav/applications/path-prediction/positions/tower-7)."""

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""click's UsageError, wherever this typer has it: older ones import click, newer ones carry a copy."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command or a group of them."""

    name: str
    module: str
    """In console.cli; empty for a component."""
    help: str


SECTIONS: dict[str, tuple[Entry, ...]] = {
    "Start here": (
        Entry("up", "platform", "Run the whole platform on this machine."),
        Entry("down", "platform", "Stop what `waypost up` runs."),
        Entry("status", "status", "Show the platform, its edge servers and positions."),
        Entry("context", "contexts", "Choose which platform to speak to."),
    ),
    "Deploy": (
        Entry("deploy", "deploy", "Give a position a model version."),
        Entry("apply", "specs", "Make resources as YAML files say."),
        Entry("diff", "specs", "Show what `waypost apply` would change."),
        Entry("export", "specs", "Print resources as YAML."),
        Entry("simulate", "simulate", "Drive the platform with simulated agents."),
    ),
    "Look": (
        Entry("watch", "watch", "Follow a position live."),
        Entry("infer", "infer", "Try a position with one inference."),
        Entry("logs", "logs", "Show what a position's monitor and hosts logged last."),
        Entry("events", "events", "Show what happened."),
        Entry("audit", "audit", "Show who changed what."),
    ),
    "Resources": (
        Entry("project", "projects", "Projects: the top of the hierarchy."),
        Entry("application", "applications", "Applications: own models, positions, tokens of xApps."),
        Entry("model", "models", "Models and their versions: what positions serve."),
        Entry("position", "positions", "Positions: inference services, each at one place."),
        Entry("edge-server", "edge_servers", "Edge servers: machines near the radio network."),
        Entry("authority", "authority", "The root of all certificates, and its replacement."),
        Entry("subscription", "subscriptions", "Subscriptions: training platforms that are followed."),
    ),
    "Who may do what": (
        Entry("login", "login", "Log in to the current platform with a password."),
        Entry("logout", "login", "End the session of the current platform."),
        Entry("whoami", "login", "Show who you are, and what you may do."),
        Entry("user", "users", "Users: people who log in with a password."),
        Entry("role", "roles", "Roles: what somebody may do, in a project or everywhere."),
        Entry("token", "tokens", "Tokens with which programs call the API."),
    ),
    "Components, one each, as production runs them": (
        Entry("control-plane", "", "Run the control plane: the fleet's brain and API."),
        Entry("backup", "", "Write a control plane's data into one file, while it runs."),
        Entry("restore", "", "Make a control plane's data of a backup."),
        Entry("agent", "", "Run the agent of an edge server."),
        Entry("monitor", "", "Run the monitor of a position (its agent does)."),
        Entry("host", "", "Serve a model by hand: waypost host run model.onnx."),
        Entry("training", "", "Run or fill the reference training platform."),
    ),
}

ENTRIES = {entry.name: entry for entries in SECTIONS.values() for entry in entries}


class Root(TyperGroup):
    """The group of all commands, each loaded when it is asked for by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(ENTRIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        if not entry.module:
            return _component(entry)
        module = importlib.import_module(f"console.cli.{entry.module}")
        group: Any = get_command(module.app)
        return getattr(group, "commands", {}).get(cmd_name, group)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except USAGE_ERROR as error:
            near = get_close_matches(args[0], ENTRIES, n=1)
            message = f"there is no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            raise type(error)(message, ctx) from error

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, ENTRIES))
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(entry.name.ljust(width), entry.help) for entry in entries])


app = typer.Typer(
    name="waypost",
    cls=Root,
    rich_markup_mode=None,
    epilog=EPILOGUE,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("waypost-platform"))
        raise typer.Exit


@app.callback(no_args_is_help=True)
def root(
    context: ContextOption = None,
    output: Annotated[
        Output | None, typer.Option("--output", "-o", help="Tables for people, JSON for programs.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Put trained models at positions near the radio network, and keep one stable endpoint for each.

    `waypost up` starts a platform of your own; `waypost COMMAND --help` explains a command.
    """
    # Handed down by the environment: the same options after the command win over it.
    if context is not None:
        os.environ["WAYPOST_CONTEXT"] = context
    if output is not None:
        os.environ["WAYPOST_OUTPUT"] = output


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns the exit code."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # our errors say it better, and once
    try:
        code = get_command(app).main(args=list(arguments), prog_name="waypost", standalone_mode=False)
    except USAGE_ERROR as error:
        return _wrong_usage(error)
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _wrong_usage(error: Any) -> int:
    """Says what is wrong with the command line, and where to read how it is right."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return USAGE
    path = context.command_path if context is not None else "waypost"
    print_error(error.format_message(), f"`{path} --help` shows how it is used")
    return USAGE


def _component(entry: Entry) -> Any:
    """A component as a command: for the list, and for `waypost --context x host ...`, which main() cannot see."""
    assert entry.name in COMPONENTS
    component = typer.Typer(rich_markup_mode=None)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @component.command(entry.name, help=entry.help, context_settings=settings)
    def run(ctx: typer.Context) -> None:
        for name, value in (ctx.parent.params if ctx.parent else {}).items():
            if value:
                raise typer.BadParameter(f"`waypost {entry.name}` takes no --{name} before its name")
        raise typer.Exit(run_component(entry.name, ctx.args))

    return get_command(component)
