"""Who is silent for too long. Pure.

Every control plane raises a number in its row. Whoever looks remembers on its own clock since when a number has stood
still: wall clocks of different machines are never compared. After a pause of the observer itself (it was stopped, or
could not read the store, as then perhaps nobody could write), silence is measured anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from control_plane.store.base import Peer


@dataclass(slots=True)
class Liveness:
    """lease_s: silence after which a peer is given up. gap_s: between two looks, above which the observer slept."""

    lease_s: float
    gap_s: float
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    _looked_s: float = 0.0

    def look(self, peers: Iterable[Peer], now_s: float) -> frozenset[str]:
        """Runs of those that have been silent for a lease. now_s: monotonic."""
        slept = now_s - self._looked_s > self.gap_s
        before = {} if slept else self._seen
        self._looked_s = now_s
        self._seen = {peer.run: _since(peer, before.get(peer.run), now_s) for peer in peers}
        return frozenset(run for run, (_, since_s) in self._seen.items() if now_s - since_s >= self.lease_s)


def _since(peer: Peer, before: tuple[int, float] | None, now_s: float) -> tuple[int, float]:
    return before if before and before[0] == peer.beats else (peer.beats, now_s)
