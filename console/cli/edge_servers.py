"""`waypost edge-server`, and the tokens with which agents join."""

from typing import Annotated

import typer

from console.cli import verbs
from console.cli.session import Session, command, group
from console.cli.verbs import DescriptionOption, LabelOption, RemoveLabelOption
from console.join import new_join_token
from console.kinds import EDGE_SERVER
from mesh import clock
from waypost import names
from waypost.api.control.v1.edge_server_pb2 import ConfirmDesiredStateRequest, RevokeEdgeServerRequest
from waypost.api.control.v1.platform_pb2 import GetPlatformRequest

app = group("Edge servers: machines near the radio network.")

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
) -> None:
    """Change an edge server's description and labels."""
    verbs.update(session, EDGE_SERVER, name, {"description": description}, label, remove_label)


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
def join_token(session: Session, name: Name) -> None:
    """Make a token that lets the server's agent join, once. It is shown this once."""
    made = new_join_token(session.client, EDGE_SERVER.parse(name), clock.now())
    if session.json:
        session.show(made)
        return
    print(made.secret)
    link = session.client.call(session.client.platform.GetPlatform, GetPlatformRequest()).link_address
    session.note(f"\nits agent joins {link} with this; write it to a file and see `waypost agent --help`")
