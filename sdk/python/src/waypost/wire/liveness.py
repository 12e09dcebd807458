"""What time alone asks of a connection: to ping a silent peer, and to give up on one that is dead, stuck or idle.

The machine has no clock, so its owner calls `Connection.tick` when it said it wanted to be called. Everything here
compares times that were noted anyway: a warm call pays one assignment per read.
"""

from enum import Enum, auto
from math import inf

from waypost.wire.faults import ErrorCode, Fault
from waypost.wire.limits import Limits


class Need(Enum):
    NOTHING = auto()
    PING = auto()
    GOODBYE = auto()


class Liveness:
    """heard_at: the last read. stalled_at: since when a frame or a header block is incomplete, None while none is."""

    __slots__ = ("_began", "_idle_since", "_limits", "_opened_at", "_pinged_at", "greeted", "heard_at", "stalled_at")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._opened_at = now
        self._idle_since = now
        self._began = 0
        self._pinged_at: float | None = None
        self.heard_at = now
        self.stalled_at: float | None = None
        self.greeted = False
        """The peer's SETTINGS came, and it acknowledged ours."""

    def check(self, now: float, *, busy: bool, began: int) -> tuple[Need, float]:
        """→ (what to do now, when to look again). began: grows with each stream. Raises Fault for a late peer."""
        if busy or began != self._began:
            self._idle_since, self._began = now, began
        due = min(self._handshake_due(now), self._stall_due(now))
        need, answer_due = self._keepalive(now)
        if self._limits.idle_s and not busy:
            idle_due = self._idle_since + self._limits.idle_s
            if now >= idle_due:
                return Need.GOODBYE, due
            due = min(due, idle_due)
        return need, min(due, answer_due)

    def _handshake_due(self, now: float) -> float:
        if self.greeted:
            return inf
        due = self._opened_at + self._limits.handshake_s
        if now >= due:
            message = f"no SETTINGS, or no acknowledgement of ours, within {self._limits.handshake_s:g} s"
            raise Fault(ErrorCode.SETTINGS_TIMEOUT, "HANDSHAKE_TIMEOUT", message)
        return due

    def _stall_due(self, now: float) -> float:
        if self.stalled_at is None:
            return inf
        due = self.stalled_at + self._limits.stall_s
        if now >= due:
            message = f"a frame or header block is incomplete after {self._limits.stall_s:g} s"
            raise Fault(ErrorCode.ENHANCE_YOUR_CALM, "FRAME_TIMEOUT", message)
        return due

    def _keepalive(self, now: float) -> tuple[Need, float]:
        """Anything heard since the ping proves life as well as its answer does."""
        limits = self._limits
        if not limits.keepalive_s:
            return Need.NOTHING, inf
        if self._pinged_at is not None and self.heard_at > self._pinged_at:
            self._pinged_at = None
        if self._pinged_at is None:
            due = self.heard_at + limits.keepalive_s
            if now < due:
                return Need.NOTHING, due
            self._pinged_at = now
            return Need.PING, now + limits.keepalive_timeout_s
        due = self._pinged_at + limits.keepalive_timeout_s
        if now >= due:
            message = f"no sign of life within {limits.keepalive_timeout_s:g} s of a ping"
            raise Fault(ErrorCode.NO_ERROR, "KEEPALIVE_TIMEOUT", message)
        return Need.NOTHING, due
