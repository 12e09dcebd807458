"""`waypost application`, and the tokens with which its xApps prove who they are."""

from typing import Annotated

import typer

from console import messages
from console.cli import rotation, verbs
from console.cli.rotation import NewIdOption, OverlapOption
from console.cli.session import Session, command, group
from console.cli.verbs import (
    DescriptionOption,
    DisplayNameOption,
    ExpiresOption,
    LabelOption,
    RemoveLabelOption,
    expire_time,
)
from console.client import PAGE_SIZE
from console.kinds import APPLICATION
from mesh import clock
from waypost import names
from waypost.api.control.v1.credential_pb2 import (
    CreateCredentialRequest,
    Credential,
    DeleteCredentialRequest,
    ListCredentialsRequest,
)

app = group("Applications: own models, positions, tokens of xApps.")
token = group("Tokens with which an application's xApps prove who they are.")
app.add_typer(token, name="token")

Name = Annotated[str, typer.Argument(metavar="NAME", help="For example uav/path-prediction.")]
Project = Annotated[str | None, typer.Argument(metavar="PROJECT", help="Only those of this project.")]
TokenId = Annotated[str, typer.Argument(metavar="TOKEN_ID", help="For example xapp-1: lower case, digits, hyphens.")]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
) -> None:
    """Create an application in a project."""
    verbs.create(session, APPLICATION, name, {"display_name": display_name, "description": description}, label)


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one application."""
    verbs.get(session, APPLICATION, name)


@command(app, "list")
def list_(session: Session, project: Project = None) -> None:
    """List applications."""
    verbs.list_(session, APPLICATION, project)


@command(app, "update")
def update(
    session: Session,
    name: Name,
    display_name: DisplayNameOption = None,
    description: DescriptionOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
) -> None:
    """Change an application's texts and labels; a subscription's has labels only."""
    fields = {"display_name": display_name, "description": description}
    verbs.update(session, APPLICATION, name, fields, label, remove_label)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete an application that owns no models and no positions."""
    verbs.delete(session, APPLICATION, name)


@command(token, "create")
def create_token(
    session: Session,
    application: Name,
    token_id: TokenId,
    description: DescriptionOption = None,
    expires_in_days: ExpiresOption = None,
) -> None:
    """Make a token for xApps. Its secret is shown this once."""
    credential = Credential(description=description or "")
    if expires_in_days is not None:
        credential.expire_time.CopyFrom(expire_time(expires_in_days))
    parent = APPLICATION.parse(application)
    request = CreateCredentialRequest(parent=parent, credential_id=token_id, credential=credential)
    made = session.client.call(session.client.credentials.CreateCredential, request)
    if session.json:
        session.show(made)
        return
    print(made.secret)
    session.note(f"\ntoken {token_id} of {names.short(parent)} made: keep the line above, it is not shown again")


@command(token, "list")
def list_tokens(session: Session, application: Name) -> None:
    """List the tokens of an application, without their secrets."""
    request = ListCredentialsRequest(parent=APPLICATION.parse(application), page_size=PAGE_SIZE)
    credentials = list(session.client.pages(session.client.credentials.ListCredentials, request, "credentials"))
    if session.json:
        session.show_json(credentials)
        return
    now = clock.now()
    rows = [
        (names.leaf(c.name), messages.age(c.create_time, now), messages.until(c.expire_time, now), c.description)
        for c in credentials
    ]
    session.table(("TOKEN", "CREATED", "EXPIRES", "DESCRIPTION"), rows, nothing="no tokens")


@command(token, "rotate")
def rotate_token(
    session: Session,
    application: Name,
    token_id: TokenId,
    new_id: NewIdOption = "",
    overlap_hours: OverlapOption = 24.0,
) -> None:
    """Replace a token by another; both are good for a while.

    Bring the new secret to the xApps meanwhile. Access that was given for the old one ends with it.
    """
    rotation.rotate(session, f"{APPLICATION.parse(application)}/credentials/{token_id}", new_id, overlap_hours)


@command(token, "revoke")
def revoke_token(session: Session, application: Name, token_id: TokenId) -> None:
    """Revoke a token. Access that was given for it ends within ten minutes."""
    name = f"{APPLICATION.parse(application)}/credentials/{token_id}"
    session.client.call(session.client.credentials.DeleteCredential, DeleteCredentialRequest(name=name))
    session.say(f"token {token_id} revoked")
