"""`waypost token`: credentials with which programs call the API."""

from typing import Annotated

import typer

from console import messages, roles
from console.cli import rotation
from console.cli.rotation import NewIdOption, OverlapOption
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, ExpiresOption, ProjectOption, expire_time
from console.client import PAGE_SIZE
from console.kinds import PROJECT
from mesh import clock
from waypost import names
from waypost.api.control.v1.credential_pb2 import (
    CreateCredentialRequest,
    Credential,
    DeleteCredentialRequest,
    ListCredentialsRequest,
)

app = group("Tokens with which programs call the API.")

TokenId = Annotated[str, typer.Argument(metavar="TOKEN_ID", help="For example ci: lower case, digits, hyphens.")]


@command(app, "create")
def create(
    session: Session,
    token_id: TokenId,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="viewer, developer, operator or admin.")],
    project: ProjectOption = None,
    description: DescriptionOption = None,
    expires_in_days: ExpiresOption = None,
) -> None:
    """Make a token for a program. Its secret is shown this once.

    `waypost context add --token-file` makes a context of it.
    """
    credential = Credential(description=description or "", role=roles.parse(role))
    if expires_in_days is not None:
        credential.expire_time.CopyFrom(expire_time(expires_in_days))
    parent = PROJECT.parse(project) if project else ""
    request = CreateCredentialRequest(parent=parent, credential_id=token_id, credential=credential)
    made = session.client.call(session.client.credentials.CreateCredential, request)
    if session.json:
        session.show(made)
        return
    print(made.secret)
    where = f"in {project}" if project else "everywhere"
    session.note(f"\ntoken {token_id} made, {role} {where}: keep the line above, it is not shown again")


@command(app, "list")
def list_(session: Session, project: ProjectOption = None) -> None:
    """List the tokens that are good everywhere, or those of a project; without their secrets."""
    parent = PROJECT.parse(project) if project else ""
    request = ListCredentialsRequest(parent=parent, page_size=PAGE_SIZE)
    credentials = list(session.client.pages(session.client.credentials.ListCredentials, request, "credentials"))
    if session.json:
        session.show_json(credentials)
        return
    now = clock.now()
    rows = [
        (
            names.leaf(c.name),
            roles.word(c.role),
            messages.age(c.create_time, now),
            messages.until(c.expire_time, now),
            c.description,
        )
        for c in credentials
    ]
    session.table(("TOKEN", "ROLE", "CREATED", "EXPIRES", "DESCRIPTION"), rows, nothing="no tokens")


@command(app, "rotate")
def rotate(
    session: Session,
    token_id: TokenId,
    project: ProjectOption = None,
    new_id: NewIdOption = "",
    overlap_hours: OverlapOption = 24.0,
) -> None:
    """Replace a token by another that may do the same; both are good for a while."""
    parent = f"{PROJECT.parse(project)}/" if project else ""
    rotation.rotate(session, f"{parent}credentials/{token_id}", new_id, overlap_hours)


@command(app, "delete")
def delete(session: Session, token_id: TokenId, project: ProjectOption = None) -> None:
    """Delete a token: it is good no more within a second, and what was granted to it goes with it."""
    parent = f"{PROJECT.parse(project)}/" if project else ""
    request = DeleteCredentialRequest(name=f"{parent}credentials/{token_id}")
    session.client.call(session.client.credentials.DeleteCredential, request)
    session.say(f"token {token_id} deleted")
