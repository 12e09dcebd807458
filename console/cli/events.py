"""`waypost events`."""

import itertools
from typing import Annotated

import typer

from console import kinds, messages
from console.cli.session import Session, command, group
from console.client import PAGE_SIZE
from mesh import clock
from waypost import names
from waypost.api.control.v1.event_pb2 import ListEventsRequest

app = group("")


@command(app, "events")
def events(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only of this and what it owns: uav/path/tower-7, edgeServers/edge-1."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The newest N.")] = 50,
) -> None:
    """Show what happened, the newest last."""
    resource = kinds.full_name(name) if name else ""
    request = ListEventsRequest(resource=resource, page_size=min(limit, PAGE_SIZE))
    newest_first = session.client.pages(session.client.events.ListEvents, request, "events")
    found = list(itertools.islice(newest_first, limit))[::-1]
    if session.json:
        session.show_json(found)
        return
    now = clock.now()
    rows = [(messages.age(e.time, now), names.short(e.resource), e.reason, e.message) for e in found]
    session.table(("WHEN", "WHAT", "REASON", "MESSAGE"), rows, nothing="nothing happened yet")
