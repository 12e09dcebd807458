"""`waypost context`: which platform to speak to."""

from pathlib import Path
from typing import Annotated

import typer

from console import contexts
from console.cli import verbs
from console.cli.session import Session, command, group
from console.contexts import Context

app = group("Choose which platform to speak to.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="`waypost context list` shows those there are.")]


@command(app, "list")
def list_(session: Session) -> None:
    """List the platforms that are known here; the current one has a star."""
    current = contexts.current()
    known = [contexts.named(name) for name in contexts.names()]
    if session.json:
        session.show_json([_shown(context, current) for context in known])
        return
    rows = [("*" if c.name == current else " ", c.name, c.address, c.data_dir) for c in known]
    session.table((" ", "NAME", "ADDRESS", "DATA DIRECTORY"), rows, nothing="no contexts")


@command(app, "use")
def use(session: Session, name: Name) -> None:
    """Make a context the current one."""
    context = contexts.use(name)
    session.say(f"commands now speak to {context.address} (context {name})")


@command(app, "show")
def show(session: Session) -> None:
    """Show the context that a command would use, without its token."""
    context = contexts.select(session.context)
    shown = _shown(context, contexts.current())
    if session.json:
        session.show_json(shown)
        return
    for key, value in shown.items():
        word = value if isinstance(value, str) else "yes" if value else "no"
        print(f"{key.replace('_', ' ') + ':':16}{word or '-'}")


@command(app, "add")
def add(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What you want to call the platform.")],
    address: Annotated[str, typer.Option("--address", metavar="HOST:PORT", help="Of the control plane's API.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with a token: admin.token, say. Empty: you will log in.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option("--ca-file", help="PEM of its CA; empty: the system's roots.")] = None,
) -> None:
    """Add a platform that runs elsewhere."""
    ca_pem = verbs.read_text(ca_file) if ca_file else ""
    token = verbs.read_text(token_file).strip() if token_file else ""
    contexts.save(Context(name, address, ca_pem, token))
    session.say(f"context {name} added; `waypost context use {name}` makes it the current one")


@command(app, "remove")
def remove(session: Session, name: Name) -> None:
    """Forget a platform; it is not touched itself."""
    contexts.remove(name)
    session.say(f"context {name} removed")


def _shown(context: Context, current: str | None) -> dict[str, str | bool]:
    return {
        "name": context.name,
        "current": context.name == current,
        "address": context.address,
        "data_dir": context.data_dir,
    }
