"""What the control plane tells people of what happened. Truth is in the resources; losing an event loses no truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from control_plane.store import EventRow, EventStore
from waypost.errors import MeshError

log = structlog.get_logger()

SOURCE = "control-plane"

CREATED = "CREATED"
SPEC_CHANGED = "SPEC_CHANGED"
DELETION_ASKED = "DELETION_ASKED"
EVENTS_LOST = "EVENTS_LOST"
REJECTION_CLEARED = "REJECTION_CLEARED"
REPLACED = "REPLACED"
RETURNED = "RETURNED"
REVOKED = "REVOKED"


@dataclass(frozen=True, slots=True)
class Told:
    """key: where several control planes may tell the same, or one tells it again after a restart."""

    resource: str
    reason: str
    message: str
    key: str = ""


class Recorder:
    """Appends events; never fails whoever tells."""

    def __init__(self, events: EventStore, now: Callable[[], float]) -> None:
        self._events = events
        self._now = now

    async def record(self, resource: str, reason: str, message: str, *, key: str = "") -> None:
        """One event; key: as in Told."""
        await self.record_all([Told(resource, reason, message, key)])

    async def record_all(self, told: Sequence[Told]) -> None:
        now_ms = int(self._now() * 1000)
        try:
            await self._events.append(
                [EventRow(now_ms, each.resource, each.reason, each.message, SOURCE, each.key) for each in told]
            )
        except MeshError as error:
            first = told[0]
            log.warning("event_lost", resource=first.resource, reason=first.reason, of=len(told), error=error.message)
