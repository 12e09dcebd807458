"""What every service works with, and the few lines that all of them share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.events import Recorder
from control_plane.services.pages import Pages
from control_plane.store import RevisionConflict, Stores
from control_plane.store.resources import Resources
from mesh.clock import Ids
from mesh.times import timestamp
from waypost.errors import Conflict

T = TypeVar("T")

ATTEMPTS = 20  # of a write whose precondition somebody else touched in between; each attempt takes milliseconds


@dataclass(frozen=True, slots=True)
class Kit:
    """Made once by `make_kit`."""

    stores: Stores
    resources: Resources
    pages: Pages
    recorder: Recorder
    ids: Ids
    now: Callable[[], float]
    """Unix seconds."""

    def timestamp(self) -> Timestamp:
        return timestamp(self.now())


def make_kit(stores: Stores, *, now: Callable[[], float], ids: Ids) -> Kit:
    return Kit(stores, Resources(stores.records), Pages(stores.token_key), Recorder(stores.events, now), ids, now)


async def retried(attempt: Callable[[], Awaitable[T]]) -> T:
    """The result of `attempt`, which reads, decides and commits; run anew where somebody else wrote in between.

    Raises: RevisionConflict where that happens ATTEMPTS times, and whatever `attempt` raises otherwise.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await attempt()
        except RevisionConflict:
            continue
    return await attempt()


def check_etag(given: str, current: str, name: str) -> None:
    """Raises: Conflict(ETAG_MISMATCH) unless `given` is empty or current."""
    if given and given != current:
        raise Conflict(
            "ETAG_MISMATCH",
            f"{name} changed since it was read",
            "read it again, then repeat the change",
            given=given,
            current=current,
        )
