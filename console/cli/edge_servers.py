"""`waypost edge-server`, and the tokens with which agents join."""

from typing import Annotated

import typer

from console import messages
from console.cli import verbs
from console.cli.session import Session, command, group
from console.cli.verbs import AllowedOption, DescriptionOption, LabelOption, RemoveLabelOption
from console.client import PAGE_SIZE
from console.join import EXPIRES_S, new_join_token, tokens_of
from console.kinds import EDGE_SERVER
from console.windows import parse_window
from mesh import clock
from waypost import names
from waypost.api.control.v1.credential_pb2 import Credential, DeleteCredentialRequest, ListCredentialsRequest
from waypost.api.control.v1.edge_server_pb2 import ConfirmDesiredStateRequest, RevokeEdgeServerRequest
from waypost.api.control.v1.platform_pb2 import GetPlatformRequest

app = group("Edge servers: machines near the radio network.")
token = group("Tokens with which agents of edge servers join.")
app.add_typer(token, name="token")

SoftwareOption = Annotated[
    str | None,
    typer.Option("--software-version", metavar="VERSION", help="Of monitors and hosts here; '': the agent's own."),
]
WindowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--window",
        metavar="WINDOW",
        help="When positions may be changed: 'sat,sun 02:30 2h Europe/Athens'; may be given several times.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="For example edge-1.")]


@command(app, "create")
def create(session: Session, name: Name, description: DescriptionOption = None, label: LabelOption = None) -> None:
    """Create an edge server; `join-token` then lets its agent in."""
    verbs.create(session, EDGE_SERVER, name, {"description": description}, label)


@command(app, "get")
def get(session: Session, name: Name) -> None:
    """Show everything about one edge server."""
    verbs.get(session, EDGE_SERVER, name)


@command(app, "list")
def list_(session: Session) -> None:
    """List edge servers."""
    verbs.list_(session, EDGE_SERVER)


@command(app, "update")
def update(
    session: Session,
    name: Name,
    description: DescriptionOption = None,
    label: LabelOption = None,
    remove_label: RemoveLabelOption = None,
    software_version: SoftwareOption = None,
    window: WindowOption = None,
    no_windows: Annotated[bool, typer.Option("--no-windows", help="Positions may be changed at any time.")] = False,
) -> None:
    """Change what is given, and nothing else."""
    server = EDGE_SERVER.new(EDGE_SERVER.parse(name))
    paths = verbs.set_fields(server, {"description": description})
    if software_version is not None:
        server.spec.software_version = software_version
        paths.append("spec.software_version")
    if window or no_windows:
        server.spec.maintenance_windows.extend(parse_window(text) for text in window or ())
        paths.append("spec.maintenance_windows")
    verbs.update_paths(session, EDGE_SERVER, server, paths, label, remove_label)


@command(app, "allow-changes")
def allow_changes(session: Session, name: Name, minutes: AllowedOption = 60) -> None:
    """Let all positions of an edge server be changed now, without waiting for a maintenance window."""
    verbs.allow_changes(session, EDGE_SERVER, name, minutes)


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete an edge server that no position names."""
    verbs.delete(session, EDGE_SERVER, name)


@command(app, "confirm")
def confirm(session: Session, name: Name) -> None:
    """Say that positions may go which an edge server holds of a store that was lost or restored."""
    request = ConfirmDesiredStateRequest(name=EDGE_SERVER.parse(name))
    confirmed = session.client.call(session.client.edge_servers.ConfirmDesiredState, request).edge_server
    verbs.done(session, EDGE_SERVER, confirmed, "confirmed")


@command(app, "revoke")
def revoke(session: Session, name: Name) -> None:
    """Shut an edge server's agent out, whatever certificates and join tokens it has. What it serves it serves on."""
    request = RevokeEdgeServerRequest(name=EDGE_SERVER.parse(name))
    revoked = session.client.call(session.client.edge_servers.RevokeEdgeServer, request).edge_server
    if session.json:
        session.show(revoked)
        return
    short = names.leaf(revoked.name)
    session.say(f"edge server {short} revoked; `waypost edge-server join-token {short}` lets it in again")


@command(app, "join-token")
def join_token(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For example edge-1; or 'tower-*' to make edge servers.")],
    uses: Annotated[int, typer.Option("--uses", metavar="N", help="How many agents may join with it.", min=1)] = 1,
    expires_in_hours: Annotated[
        float, typer.Option("--expires-in-hours", metavar="HOURS", help="How long it is good.", min=0)
    ] = EXPIRES_S / 3600,
) -> None:
    """Make a token that lets the server's agent join. It is shown this once.

    With a pattern, 'tower-*', it lets new edge servers in whose names fit: each is created when its agent joins.
    """
    made = new_join_token(session.client, name, clock.now(), uses=uses, expires_s=expires_in_hours * 3600)
    if session.json:
        session.show(made)
        return
    print(made.secret)
    link = session.client.call(session.client.platform.GetPlatform, GetPlatformRequest()).link_address
    named = " --name NAME" if "*" in name else ""
    session.note(
        "\nwrite it to a file there, and start the agent, which dials out and listens for nobody from outside:\n"
        f"  waypost agent join --control-plane {link} --token-file FILE{named}"
    )


@command(token, "list")
def list_tokens(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only those of this edge server, or pattern.")] = "*",
) -> None:
    """List join tokens, without their secrets."""
    request = ListCredentialsRequest(parent=tokens_of(name), page_size=PAGE_SIZE)
    found = session.client.pages(session.client.credentials.ListCredentials, request, "credentials")
    credentials = [credential for credential in found if name in ("*", _joins(credential))]
    if session.json:
        session.show_json(credentials)
        return
    now = clock.now()
    rows = [
        (_joins(c), names.leaf(c.name), _used(c), messages.age(c.create_time, now), messages.until(c.expire_time, now))
        for c in credentials
    ]
    session.table(("JOINS AS", "TOKEN", "USED", "CREATED", "EXPIRES"), rows, nothing="no join tokens")


@command(token, "revoke")
def revoke_token(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom it lets in: edge-1, or 'tower-*'.")],
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="As `token list` shows it.")],
) -> None:
    """Revoke a join token. Whom it has let in stays in: see `waypost edge-server revoke`."""
    request = DeleteCredentialRequest(name=f"{tokens_of(name)}/credentials/{token_id}")
    session.client.call(session.client.credentials.DeleteCredential, request)
    session.say(f"join token {token_id} revoked")


def _joins(credential: Credential) -> str:
    """Name or pattern."""
    return credential.edge_server_pattern or names.leaf(names.parent(credential.name))


def _used(credential: Credential) -> str:
    """`1/5`, and as whom it was used last."""
    uses = credential.join_uses
    last = f" ({names.leaf(uses[-1].edge_server)})" if uses else ""
    return f"{len(uses)}/{max(1, credential.max_uses)}{last}"
