"""Two agents with one identity: a machine that was cloned, or started from another one's backup. Pure.

Each of them would supersede the other's session, for ever. A process says its boot id with every Hello; one that was
superseded by another and comes back lives beside it. From then on whoever speaks now goes on speaking, the other one
is refused for as long, and the edge server says so.
"""

from collections import deque
from dataclasses import dataclass, field

BOOTS_KEPT = 8  # of each edge server: clones are few
SETTLED_S = 120.0  # without a refusal: the refused one dials every minute at the latest


@dataclass(slots=True)
class _Seen:
    boot_id: str
    peer: str
    gone: deque[str] = field(default_factory=lambda: deque(maxlen=BOOTS_KEPT))
    refused_s: float | None = None


class Duplicates:
    """Of all edge servers."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def other(self, edge_server: str, boot_id: str, now_s: float, *, speaks: bool) -> str | None:
        """The peer of the agent that speaks for the edge server where `boot_id` is a second one; None to let it in.

        speaks: whether a session of that edge server is on.
        """
        seen = self._seen.get(edge_server)
        if seen is None or not speaks or seen.boot_id == boot_id or boot_id not in seen.gone:
            return None
        seen.refused_s = now_s
        return seen.peer

    def entered(self, edge_server: str, boot_id: str, peer: str) -> None:
        """It speaks for the edge server from now on."""
        seen = self._seen.setdefault(edge_server, _Seen(boot_id, peer))
        if seen.boot_id != boot_id:
            seen.gone.append(seen.boot_id)
        seen.boot_id, seen.peer = boot_id, peer

    def refuses(self, edge_server: str) -> bool:
        """Whether a second agent of it was refused here, and not long ago."""
        seen = self._seen.get(edge_server)
        return seen is not None and seen.refused_s is not None

    def settled(self, now_s: float) -> list[str]:
        """Edge servers of which no second agent has been seen for long; each is named once."""
        over = [
            name
            for name, seen in self._seen.items()
            if seen.refused_s is not None and now_s - seen.refused_s >= SETTLED_S
        ]
        for name in over:
            self._seen[name].refused_s = None
        return over

    def forget(self, edge_server: str) -> None:
        self._seen.pop(edge_server, None)
