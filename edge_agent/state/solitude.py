"""How long this edge server has been without its control plane, also through restarts of the agent and of the machine.

Within one boot of the machine the time is measured by its boot-time clock, which nobody can set and which goes on while
the machine sleeps. Across boots there is only the wall clock, which many boxes at the edge do not keep while they are
off: the difference counts where it is positive. What was counted before is written down once a minute.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from waypost.errors import MeshError

log = structlog.get_logger()

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
NOTE_EVERY_S = 60.0  # at most so much is forgotten where the machine is switched off; each costs the disk a sync


@dataclass(frozen=True, slots=True)
class Moment:
    """On the clocks of this machine."""

    boot: str
    """Identifies the boot of the machine."""
    boottime_s: float
    """Since then."""
    wall_s: float
    """Unix seconds."""

    @classmethod
    def now(cls, wall_s: float) -> Self:
        return cls(_boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME), wall_s)

    def since(self, earlier: "Moment") -> float:
        """Seconds, at least 0."""
        if self.boot == earlier.boot:
            return max(0.0, self.boottime_s - earlier.boottime_s)
        return max(0.0, self.wall_s - earlier.wall_s)


@dataclass(frozen=True, slots=True)
class Since:
    """Alone since then. Pure; what is written down."""

    moment: Moment
    before_s: float = 0.0
    """What had been counted by then."""

    def seconds(self, now: Moment) -> float:
        return self.before_s + now.since(self.moment)

    def at(self, now: Moment) -> "Since":
        """The same, counted up to now."""
        return Since(now, self.seconds(now))

    def to_page(self) -> Mapping[str, Any]:
        return asdict(self)

    @classmethod
    def from_page(cls, page: Mapping[str, Any]) -> Self:
        return cls(Moment(**page["moment"]), page["before_s"])


Keep = Callable[[Since | None], None]


class Solitude:
    """keep: writes down since when, or that it is over (None); raises: MeshError."""

    def __init__(self, since: Since | None, keep: Keep, moment: Callable[[], Moment]) -> None:
        """since: what was written down; None: the control plane was there. An agent that begins has not heard it."""
        self._keep = keep
        self._moment = moment
        now = moment()
        self._since: Since | None = since.at(now) if since else Since(now)
        self._note_or_say_so()

    def changed(self, *, connected: bool) -> None:
        """The link to the control plane is there, or is gone. Raises: MeshError where it cannot be written down."""
        if connected == (self._since is None):
            return
        self._since = None if connected else Since(self._moment())
        self._keep(self._since)

    async def run(self) -> None:
        """Writes down what was counted, now and then; for ever."""
        while True:
            await asyncio.sleep(NOTE_EVERY_S)
            self._note_or_say_so()

    def _note_or_say_so(self) -> None:
        try:
            self.note()
        except MeshError as error:  # it counts on from what was written down before
            log.error("solitude_not_kept", why=error.message, hint=error.hint)

    def note(self) -> None:
        """Writes down what was counted. Raises: MeshError where it cannot be written."""
        if self._since is not None:
            self._since = self._since.at(self._moment())
            self._keep(self._since)

    @property
    def seconds(self) -> float:
        """0 while the control plane is there."""
        return self._since.seconds(self._moment()) if self._since else 0.0


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # no Linux: each start counts as a boot
        return ""
