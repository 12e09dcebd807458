"""`waypost position`."""

from typing import Annotated

import typer

from console import following, placement
from console.cli import verbs
from console.cli.options import NOTHING_ASKED, PositionOptions
from console.cli.session import Session, command, group
from console.cli.verbs import AllowedOption, DescriptionOption, LabelOption, RemoveLabelOption
from console.kinds import POSITION, VERSION
from waypost import names
from waypost.api.control.v1.position_pb2 import ClearRejectionRequest
from waypost.errors import DeadlineExceeded

app = group("Positions: inference services, each at one place.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example uav/path-prediction/tower-7.")]
Owner = Annotated[str | None, typer.Argument(metavar="OWNER", help="Only those of this project or application.")]
ModelVersionOption = Annotated[
    str | None, typer.Option("--model-version", metavar="NAME", help="What it serves: uav/path-prediction/lstm/3.")
]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    model_version: ModelVersionOption = None,
    asked: PositionOptions = NOTHING_ASKED,
    description: DescriptionOption = None,
    label: LabelOption = None,
) -> None:
    """Create a position; `waypost deploy` makes it where there is none."""
    position, _ = placement.position_with(POSITION.parse(name), asked.wishes(model_version))
    position.description = description or ""
    position.labels.update(verbs.parse_labels(label))
    verbs.done(session, POSITION, session.resources.create(POSITION, position), "created")


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one position."""
    verbs.get(session, POSITION, name)


@command(app, "list")
def list_(session: Session, owner: Owner = None) -> None:
    """List positions."""
    verbs.list_(session, POSITION, owner)


@command(app, "update")
def update(
    session: Session,
    name: Name,
    model_version: ModelVersionOption = None,
    asked: PositionOptions = NOTHING_ASKED,
    description: DescriptionOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
) -> None:
    """Change what is given, and nothing else."""
    position, paths = placement.position_with(POSITION.parse(name), asked.wishes(model_version))
    if description is not None:
        position.description = description
        paths.append("description")
    verbs.update_paths(session, POSITION, position, paths, label, remove_label)


@command(app, "delete")
def delete(
    session: Session,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Until its edge server has let go of it.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0, help="Of --wait.")] = 60.0,
) -> None:
    """Delete a position: it drains, then it is gone."""
    full = POSITION.parse(name)
    session.resources.delete(POSITION, full)
    if not wait:
        session.say(f"position {names.short(full)} is being deleted")
        return
    for form in following.forms(session.client, full, within_s=timeout):
        if form is None:
            session.say(f"position {names.short(full)} deleted")
            return
    message = f"{names.short(full)} is not gone after {timeout:g} s"
    raise DeadlineExceeded(
        "NOT_IN_TIME", message, f"`waypost position get {names.short(full)}` shows what it waits for"
    )


@command(app, "allow-changes")
def allow_changes(session: Session, name: Name, minutes: AllowedOption = 60) -> None:
    """Let a position be changed now, without waiting for a maintenance window of its edge server."""
    verbs.allow_changes(session, POSITION, name, minutes)


@command(app, "clear-rejection")
def clear_rejection(
    session: Session,
    name: Name,
    model_version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that was refused.")],
) -> None:
    """Let a position try a version again that it refused."""
    request = ClearRejectionRequest(name=POSITION.parse(name), model_version=VERSION.parse(model_version))
    position = session.client.call(session.client.positions.ClearRejection, request).position
    verbs.done(session, POSITION, position, f"may try {model_version} again")
