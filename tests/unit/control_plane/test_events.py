"""Telling people what happened never fails whoever tells."""

from collections.abc import Sequence

from structlog.testing import capture_logs

from control_plane.events import REVOKED, Recorder
from control_plane.store import EventRow, open_stores
from tests.unit.control_plane.scenario import scenario
from waypost.errors import Unavailable

TOWER = "edgeServers/tower"


class Away:
    """A store of events whose database is not there."""

    async def append(self, events: Sequence[EventRow]) -> None:
        raise Unavailable("STORE_UNAVAILABLE", "the database is away")

    async def newest(self, resource: str = "", *, limit: int = 100, before: int = 0) -> Sequence[EventRow]:
        return []


@scenario
async def test_an_event_is_kept_with_its_time() -> None:
    async with open_stores("sqlite://") as stores:
        await Recorder(stores.events, lambda: 1_800_000_000.5).record(TOWER, REVOKED, "by anna")
        (event,) = await stores.events.newest(TOWER)
        assert (event.time_unix_ms, event.reason, event.message) == (1_800_000_000_500, REVOKED, "by anna")


@scenario
async def test_an_event_that_cannot_be_kept_is_logged_and_harms_nobody() -> None:
    recorder = Recorder(Away(), lambda: 0.0)
    with capture_logs() as logs:
        await recorder.record(TOWER, REVOKED, "by anna")
    assert [(line["event"], line["resource"], line["reason"]) for line in logs] == [("event_lost", TOWER, REVOKED)]
