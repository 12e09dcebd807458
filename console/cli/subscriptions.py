"""`waypost subscription`."""

from pathlib import Path
from typing import Annotated

import typer

from console.cli import verbs
from console.cli.session import Session, command, group
from console.kinds import PROJECT, SUBSCRIPTION

app = group("Subscriptions: training platforms that are followed.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example local.")]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="HOST:PORT", help="The training platform.")],
    project: Annotated[str, typer.Option("--project", help="Project to fill; made where it does not exist.")],
    activation_token_file: Annotated[
        Path | None, typer.Option("--activation-token-file", help="File with the token that the source gave you.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", help="PEM of the roots to trust; empty: plaintext, loopback only.")
    ] = None,
) -> None:
    """Follow a training platform: what it publishes fills a project."""
    subscription = SUBSCRIPTION.new(SUBSCRIPTION.parse(name))
    subscription.spec.endpoint = endpoint
    subscription.spec.project = PROJECT.parse(project)
    if activation_token_file is not None:
        subscription.spec.activation_token = verbs.read_text(activation_token_file).strip()
    if ca_file is not None:
        subscription.spec.ca_pem = verbs.read_text(ca_file)
    verbs.done(session, SUBSCRIPTION, session.resources.create(SUBSCRIPTION, subscription), "created")


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one subscription."""
    verbs.get(session, SUBSCRIPTION, name)


@command(app, "list")
def list_(session: Session) -> None:
    """List subscriptions."""
    verbs.list_(session, SUBSCRIPTION)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Follow a training platform no more. What came from it stays."""
    verbs.delete(session, SUBSCRIPTION, name)
