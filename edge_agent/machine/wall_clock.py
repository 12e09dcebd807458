"""Whether this machine's wall clock has gone back: many boxes at the edge have no clock that runs while they are off.

The newest time that was ever seen is in the ledger, and the agent's certificate says when it was signed; a clock that
shows less than either is wrong. Nothing here depends on it: intervals are measured by clocks that nobody can set, and
what serves serves on. But certificates seem not yet valid to it, so that the control plane may be out of reach, and the
times of tokens and events are wrong; so it is said.

A clock that was ahead, and has been set right, looks the same. What the control plane dates ends that: each renewal of
the certificate takes the place of all that was seen before.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from edge_agent.failure import Failure, condition
from waypost.api.control.v1.condition_pb2 import Condition
from waypost.errors import MeshError

log = structlog.get_logger()

LOOK_S = 60.0
NOTE_EVERY_S = 600.0  # by so much a clock may have gone back unnoticed; each note costs the disk a sync
TOLERANCE_S = 120.0  # what a time service may set back at once, and what two machines may differ by

_HINT = "set the clock, or let a time service (NTP) do it; if it was ahead before, this passes with the next renewal"


class WallClock:
    """newest: as written down; 0: never. keep: writes it down, raises MeshError. Times are Unix seconds."""

    def __init__(self, newest: float, keep: Callable[[float], None], now: Callable[[], float]) -> None:
        self._newest = self._kept = newest
        self._keep = keep
        self._now = now

    def dated(self, issued: float) -> None:
        """The control plane has just dated something."""
        self._newest = issued
        self._note()

    def not_before(self, issued: float) -> None:
        """The control plane had dated something so, some time ago."""
        self._newest = max(self._newest, issued)

    async def run(self) -> None:
        """Looks at the clock now and then; for ever."""
        if self.behind_s:
            log.warning("clock_behind", by_s=round(self.behind_s), hint=_HINT)
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Remembers the time, if there never was a newer one."""
        self._newest = max(self._newest, self._now())
        if self._newest - self._kept >= NOTE_EVERY_S:
            self._note()

    @property
    def behind_s(self) -> float:
        """Seconds by which the clock is behind what it, or the control plane, has shown; 0 where that may well be."""
        behind_s = self._newest - self._now()
        return behind_s if behind_s > TOLERANCE_S else 0.0

    def condition(self) -> Condition:
        return condition("ClockPlausible", self._trouble() if self.behind_s else None)

    def _trouble(self) -> Failure:
        seen, shown = _date(self._newest), _date(self._now())
        message = f"its clock shows {shown}, and it was {seen} already; what it serves it serves on"
        return Failure("CLOCK_BEHIND", message, _HINT)

    def _note(self) -> None:
        try:
            self._keep(self._newest)
        except MeshError as error:
            log.error("clock_not_kept", why=error.message, hint=error.hint)
        else:
            self._kept = self._newest


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
