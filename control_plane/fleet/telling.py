"""What an agent may tell people in events: of what, in whose name, when, and how much.

An edge server that somebody else has taken over shows a certificate as good as before, and events are kept for all
projects in one list of bounded length. So an agent is heard of itself, of the positions that its edge server was told,
and of those whose spec names it. A position that has just moved away is among the former: its last events may come when
it is gone, also after days without a link. Lost are those that come when this process never told the position and the
spec names another edge server by now: it moved, and we began, while the agent was alone.

Values in, values out; nothing here waits.
"""

from collections.abc import Collection
from dataclasses import dataclass

from control_plane.store.text import is_key
from mesh.times import SECONDS
from waypost.api.link.v1 import link_pb2 as pb

SOURCES = ("agent", "monitor")
"""Who speaks in an agent's events; what another word says, the agent says."""

AT_ONCE, LEAK_S = 1024, 1.0
"""Events of one edge server: twice what its agent keeps while it is alone (mesh.link_core.EVENTS_MAX), then one each
second. Hosts that end again and again tell less; to push out everybody's takes hours, and stands in the log."""

LEFT_MAX = 1000  # positions that an edge server was told and that are no longer its own: some hundred kilobytes
BOOT_ID_CHARACTERS_MAX = 100  # a UUID has 36

_LAST_MS = SECONDS["google.protobuf.Timestamp"][1] * 1000


class Told:
    """Names of positions that this process has told each edge server."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    def add(self, edge_server: str, positions: Collection[str]) -> None:
        """These are its own now; of those that were before the oldest are forgotten beyond LEFT_MAX."""
        names = self._names.setdefault(edge_server, {})
        for position in positions:
            names.pop(position, None)
            names[position] = None
        for oldest in list(names)[: max(0, len(names) - len(positions) - LEFT_MAX)]:
            del names[oldest]

    def has(self, edge_server: str, position: str) -> bool:
        return position in self._names.get(edge_server, ())

    def forget(self, edge_server: str) -> None:
        self._names.pop(edge_server, None)


@dataclass(slots=True)
class Unheard:
    """Events of one session that were not kept."""

    foreign: int = 0
    """Of what is not the edge server's own."""
    too_many: int = 0

    def __bool__(self) -> bool:
        return bool(self.foreign or self.too_many)


def source_of(event: pb.ChildEvent) -> str:
    return event.source if event.source in SOURCES else SOURCES[0]


def time_of(event: pb.ChildEvent) -> int:
    """Milliseconds since the epoch on the agent's clock, whatever that says; a Timestamp can hold it."""
    return min(max(event.time_unix_ms, 0), _LAST_MS)


def is_boot_id(text: str) -> bool:
    """Whether it can be part of a key."""
    return is_key(text) and 0 < len(text) <= BOOT_ID_CHARACTERS_MAX
