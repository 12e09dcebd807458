"""How many hosts may load at once on this edge server: what loads takes CPU from what serves.

Positions say how many of theirs are starting and ask for room; whoever found none is woken when there is some again. A
host that takes long counts no longer after a while: it waits for a disk or hangs, and must not keep all others from
their start.
"""

from collections.abc import Callable

LOADING_S = 30.0  # after which a start counts no longer; usual ones take one or two seconds


class StartGate:
    """Shared by all positions. limit: hosts that may load at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starting: dict[str, int] = {}
        self._waiting: dict[str, None] = {}
        self._wake: Callable[[str], None] = lambda uid: None

    def on_change(self, wake: Callable[[str], None]) -> None:
        """From now on `wake(uid)` is called for positions that found no room, when there is some."""
        self._wake = wake

    def report(self, uid: str, starting: int) -> None:
        """So many hosts of the position are starting now."""
        before = self._starting.pop(uid, 0)
        if starting:
            self._starting[uid] = starting
        if starting < before:
            waiting, self._waiting = self._waiting, {}
            for each in waiting:  # in the order in which they came
                self._wake(each)

    def room(self, uid: str) -> int:
        """How many more hosts the position may start now; where there is no room it is woken later."""
        room = max(0, self._limit - sum(self._starting.values()))
        if not room:
            self._waiting[uid] = None
        return room
