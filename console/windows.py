"""Maintenance windows as people say them on the command line: `sat,sun 02:30 2h Europe/Athens`. Pure."""

import re

from waypost.api.control.v1.edge_server_pb2 import MaintenanceWindow, Weekday
from waypost.errors import Invalid

_DAYS = {name.removeprefix("WEEKDAY_")[:3].lower(): number for name, number in Weekday.items() if number}
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(?P<days>\S+) +(?P<start>\S+) +(?P<count>[0-9.]{1,6})(?P<unit>[mhd])(?: +(?P<zone>\S+))?")


def parse_window(text: str) -> MaintenanceWindow:
    """Days (or `daily`), when it opens, for how long, and a time zone or none for UTC. Raises: Invalid(BAD_WINDOW).

    Whether there is such a time and such a zone is the platform's to judge.
    """
    found = _FORM.fullmatch(text.strip())
    days = [] if found is None or found["days"] == "daily" else found["days"].lower().split(",")
    try:
        if found is None:
            raise ValueError(text)
        numbers = [_DAYS[day[:3]] for day in days]
        seconds = float(found["count"]) * _SECONDS[found["unit"]]
    except (ValueError, KeyError) as error:
        hint = "write it as 'sat,sun 02:30 2h Europe/Athens', or 'daily 02:30 90m'"
        raise Invalid("BAD_WINDOW", f"{text!r} is no maintenance window", hint) from error
    window = MaintenanceWindow(days=numbers, start=found["start"], time_zone=found["zone"] or "")
    window.duration.FromSeconds(round(seconds))
    return window
