"""Maintenance windows: times that come again every week, in which what serves may be changed. Pure.

A window opens by the clock on the wall of its time zone and stays open for so long, whatever that clock does meanwhile.
Where the clock is put forward over the time it opens at, or shows it twice, RFC 5545 (section 3.3.5) says when it is:
by the offset before the gap, and the first of the two. That is what `fold=0` means to datetime (PEP 495).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from waypost.api.control.v1 import edge_server_pb2 as pb
from waypost.errors import Invalid

DURATION_MIN = timedelta(minutes=1)  # a change takes seconds to begin; less would be missed by a busy machine
DURATION_MAX = timedelta(days=7)  # longer than a week is always

_START = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Window:
    days: frozenset[int]
    """On which it opens, 0 for Monday."""
    start: time
    duration: timedelta
    zone: ZoneInfo

    def openings(self, around_s: float) -> Iterator[float]:
        """Unix seconds of every opening in the eight days before and after, rising: one that is open now and the next
        one are among them."""
        today = datetime.fromtimestamp(around_s, self.zone).date()
        for offset in range(-8, 9):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                yield datetime.combine(day, self.start, self.zone).astimezone(UTC).timestamp()


def read_window(message: pb.MaintenanceWindow) -> Window:
    """Raises: Invalid(BAD_WINDOW)."""
    start = _START.fullmatch(message.start)
    if start is None:
        raise _bad(f"it opens at {message.start!r}", "write the time as 02:30")
    duration = timedelta(milliseconds=message.duration.ToMilliseconds())
    if not DURATION_MIN <= duration <= DURATION_MAX:
        raise _bad(f"it is open for {duration.total_seconds():g} s", "a minute to a week: 7200s")
    if any(not 1 <= day <= 7 for day in message.days):
        raise _bad("it opens on a day that is none", "WEEKDAY_MONDAY to WEEKDAY_SUNDAY; none at all: every day")
    days = frozenset(day - 1 for day in message.days) or frozenset(range(7))
    return Window(days, time(int(start[1]), int(start[2])), duration, _zone(message.time_zone))


def is_open(windows: Iterable[Window], now_s: float) -> bool:
    """Whether one of them is open at that Unix time."""
    return any(
        opening <= now_s < opening + window.duration.total_seconds()
        for window in windows
        for opening in window.openings(now_s)
    )


def next_opening(windows: Iterable[Window], now_s: float) -> tuple[float, Window]:
    """Unix seconds when the next of them opens, after that time, and which. windows: at least one."""
    return min(
        ((opening, window) for window in windows for opening in window.openings(now_s) if opening > now_s),
        key=lambda found: found[0],
    )


def on_the_wall(moment_s: float, window: Window) -> str:
    """`Sat 2026-11-28 02:30 EET`: as people there say it, in English."""
    there = datetime.fromtimestamp(moment_s, window.zone)
    return f"{_DAY_NAMES[there.weekday()]} {there:%Y-%m-%d %H:%M} {there.tzname()}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # ValueError: a path; OSError: a directory
        hint = "a name like Europe/Athens; a machine that knows none of them lacks the package tzdata"
        raise _bad(f"there is no time zone {name!r} on this machine", hint) from error


def _bad(why: str, hint: str) -> Invalid:
    return Invalid("BAD_WINDOW", f"a maintenance window cannot be understood: {why}", hint)
