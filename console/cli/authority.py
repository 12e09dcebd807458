"""`waypost authority`: the root that all certificates are under, and its replacement by another one."""

from dataclasses import replace
from typing import Annotated

import typer

from console import contexts
from console.cli.session import Session, command, group
from waypost import names
from waypost.api.control.v1.authority_pb2 import (
    Authority,
    FinishAuthorityRotationRequest,
    GetAuthorityRequest,
    RotateAuthorityRequest,
)

app = group("The root of all certificates, and its replacement.")

PIN_CHARS = 16  # enough to tell roots apart


@command(app, "status")
def status(session: Session) -> None:
    """Show the roots, and which edge servers were not certified under them yet."""
    _show(session, session.client.call(session.client.authority.GetAuthority, GetAuthorityRequest()).authority)


@command(app, "rotate")
def rotate(session: Session) -> None:
    """Make a new root, which signs from now on; the one before stays trusted until `finish`."""
    made = session.client.call(session.client.authority.RotateAuthority, RotateAuthorityRequest()).authority
    _show(session, made)
    session.note(
        "\nconnected edge servers renew by themselves now; `waypost authority status` says how far they are.\n"
        "When all are through, and people and join tokens too: `waypost authority finish`"
    )


@command(app, "finish")
def finish(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Leave edge servers behind that were not renewed.")] = False,
) -> None:
    """End the trust in the root before. Refused while an edge server depends on it."""
    request = FinishAuthorityRotationRequest(force=force)
    _show(session, session.client.call(session.client.authority.FinishAuthorityRotation, request).authority)


def _show(session: Session, authority: Authority) -> None:
    """And what is trusted now goes into the context that was used, which else would end with the root before."""
    context = session.client.context
    if context.ca_pem not in ("", authority.ca_pem):
        contexts.write(contexts.locate(session.context), replace(context, ca_pem=authority.ca_pem))
    if session.json:
        session.show(authority)
        return
    rows = [
        (
            root.sha256[:PIN_CHARS],
            f"{root.create_time.ToDatetime():%Y-%m-%d %H:%M}",
            f"{root.expire_time.ToDatetime():%Y-%m-%d}",
            "signs" if root.signs else "trusted",
        )
        for root in authority.roots
    ]
    session.table(("ROOT", "MADE (UTC)", "EXPIRES", "USE"), rows, nothing="no roots")
    session.say(f"\n{authority.edge_servers_ready} of {authority.edge_servers} edge servers are certified under this")
    waiting = [
        (
            names.leaf(server.edge_server),
            "connected" if server.connected else "away",
            f"{server.last_seen_time.ToDatetime():%Y-%m-%d %H:%M}",
        )
        for server in authority.waiting
    ]
    if waiting:
        session.table(("WAITING FOR", "LINK", "LAST SEEN (UTC)"), waiting, nothing="")
