"""`waypost logs`: what the processes of a position wrote, fetched by the platform from its edge server."""

from typing import Annotated

import typer

from console.cli.session import Session, command, group
from console.kinds import POSITION
from console.loglines import readable
from waypost.api.control.v1.position_pb2 import ReadPositionLogsRequest

app = group("")

LOGS_S = 30.0  # of the whole answer: an edge server far away has this long


@command(app, "logs")
def logs(
    session: Session,
    position: Annotated[str, typer.Argument(metavar="POSITION", help="For example uav/path-prediction/tower-7.")],
    tail: Annotated[
        int, typer.Option("--tail", metavar="N", min=1, max=10000, help="The last N of each process.")
    ] = 100,
) -> None:
    """Show what a position's monitor and hosts logged last, the process in front of each line."""
    request = ReadPositionLogsRequest(name=POSITION.parse(position), tail_lines=tail)
    pieces = session.client.stream(session.client.positions.ReadPositionLogs, request, timeout=LOGS_S)
    lines = [(piece.source, line) for piece in pieces for line in piece.text.splitlines()]
    if session.json:
        session.show_json([{"source": source, "line": line} for source, line in lines])
        return
    width = max((len(source) for source, _ in lines), default=0)
    for source, line in lines:
        print(f"{source:{width}}  {readable(line)}")
    if not lines:
        session.note("nothing logged")
