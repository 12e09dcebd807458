"""`waypost project`."""

from typing import Annotated

import typer

from console.cli import verbs
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, DisplayNameOption, LabelOption, RemoveLabelOption
from console.kinds import PROJECT

app = group("Projects: the top of the hierarchy.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example uav.")]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
) -> None:
    """Create a project."""
    verbs.create(session, PROJECT, name, {"display_name": display_name, "description": description}, label)


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
) -> None:
    """Change a project's texts and labels."""
    fields = {"display_name": display_name, "description": description}
    verbs.update(session, PROJECT, name, fields, label, remove_label)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete a project that owns no applications."""
    verbs.delete(session, PROJECT, name)
