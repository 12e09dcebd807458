"""What the control plane tells people of what happened. Truth is in the resources; losing an event loses no truth."""

from collections.abc import Callable

import structlog

from control_plane.store import EventRow, EventStore
from waypost.errors import MeshError

log = structlog.get_logger()

SOURCE = "control-plane"

CREATED = "CREATED"
SPEC_CHANGED = "SPEC_CHANGED"
DELETION_ASKED = "DELETION_ASKED"
REJECTION_CLEARED = "REJECTION_CLEARED"
REPLACED = "REPLACED"
RETURNED = "RETURNED"
REVOKED = "REVOKED"


class Recorder:
    """Appends events; never fails whoever tells."""

    def __init__(self, events: EventStore, now: Callable[[], float]) -> None:
        self._events = events
        self._now = now

    async def record(self, resource: str, reason: str, message: str, *, key: str = "") -> None:
        """key: where several control planes may tell the same, or one tells it again after a restart."""
        event = EventRow(int(self._now() * 1000), resource, reason, message, SOURCE, key)
        try:
            await self._events.append([event])
        except MeshError as error:
            log.warning("event_lost", resource=resource, reason=reason, error=error.message)
