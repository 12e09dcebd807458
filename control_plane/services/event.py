# ruff: noqa: N802  methods are named by the proto
"""control.v1.EventService."""

from typing import Any

from control_plane.access import caller
from control_plane.services.kit import Kit
from control_plane.services.pages import page_size
from control_plane.store import EventRow
from mesh.times import timestamp
from waypost.api.control.v1 import event_pb2 as pb
from waypost.api.control.v1 import event_pb2_grpc as rpc


class EventService(rpc.EventServiceServicer):
    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        query, size = f"event\n{request.resource}", page_size(request.page_size)
        before = int(self._kit.pages.open(query, request.page_token) or 0)
        rows = await self._visible(request.resource, size + 1, before)
        token = self._kit.pages.seal(query, str(rows[size - 1].id)) if len(rows) > size else ""
        return pb.ListEventsResponse(events=map(_event, rows[:size]), next_page_token=token)

    async def _visible(self, resource: str, wanted: int, before: int) -> list[EventRow]:
        """Up to `wanted` rows that the caller may see, the newest first."""
        sees, found = caller().sees, list[EventRow]()
        while len(found) < wanted:
            rows = await self._kit.stores.events.newest(resource, limit=wanted, before=before)
            found += [row for row in rows if sees(row.resource)]
            if len(rows) < wanted:
                break
            before = rows[-1].id
        return found[:wanted]


def _event(row: EventRow) -> pb.Event:
    return pb.Event(
        id=row.id,
        time=timestamp(row.time_unix_ms / 1000),
        resource=row.resource,
        reason=row.reason,
        message=row.message,
        source=row.source,
    )
