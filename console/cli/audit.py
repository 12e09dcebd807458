"""`waypost audit`."""

import itertools
from typing import Annotated

import typer

from console import kinds, messages
from console.cli.session import Session, command, group
from console.client import PAGE_SIZE
from mesh import clock
from waypost import names
from waypost.api.control.v1.audit_pb2 import AuditEntry, ListAuditEntriesRequest

app = group("")


@command(app, "audit")
def audit(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Only about this and what it owns: uav, uav/path/tower-7, users/anna."),
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="SUBJECT", help="Only what this one did: users/anna.")] = "",
    method: Annotated[str, typer.Option("--method", metavar="METHOD", help="Only this one: UpdatePosition.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only what was refused or did not come to pass.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The newest N.")] = 50,
) -> None:
    """Show who changed what, the newest last.

    Calls that changed something or tried to, and calls that were refused for who made them. `-o json` shows what was
    asked for, too.
    """
    request = ListAuditEntriesRequest(
        resource=_resource(name) if name else "",
        subject=by,
        method=method,
        failed_only=failed,
        page_size=min(limit, PAGE_SIZE),
    )
    newest_first = session.client.pages(session.client.audit.ListAuditEntries, request, "audit_entries")
    found = list(itertools.islice(newest_first, limit))[::-1]
    if session.json:
        session.show_json(found)
        return
    now = clock.now()
    header = ("WHEN", "WHO", "FROM", "METHOD", "WHAT", "OUTCOME")
    session.table(header, [_row(entry, now) for entry in found], nothing="nothing was changed or refused yet")


def _row(entry: AuditEntry, now: float) -> tuple[str, ...]:
    return (
        messages.age(entry.time, now),
        entry.subject or "nobody",
        entry.peer,
        names.leaf(entry.method),
        entry.resource,
        entry.reason or entry.code,
    )


def _resource(name: str) -> str:
    """Users, tokens and role bindings by their full names; everything else as `waypost events` takes it."""
    beside = ("users/", "credentials/", "roleBindings/")
    return name if name.startswith(beside) or "/credentials/" in name else kinds.full_name(name)
