"""Maintenance windows on the command line."""

import pytest

from console.windows import parse_window
from waypost.api.control.v1.edge_server_pb2 import WEEKDAY_SATURDAY, WEEKDAY_SUNDAY
from waypost.errors import Invalid


def test_a_window_is_said_in_one_line() -> None:
    window = parse_window("Sat,sunday  02:30 1.5h Europe/Athens")
    assert (list(window.days), window.start) == ([WEEKDAY_SATURDAY, WEEKDAY_SUNDAY], "02:30")
    assert (window.duration.seconds, window.time_zone) == (5400, "Europe/Athens")
    daily = parse_window("daily 23:00 90m")
    assert (list(daily.days), daily.duration.seconds, daily.time_zone) == ([], 5400, "")


@pytest.mark.parametrize(
    "text", ["", "sat", "sat 02:30", "sat 02:30 2", "cat 02:30 2h", "sat 02:30 1.2.3h", "a b 2h c d"]
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid, match="is no maintenance window") as refused:
        parse_window(text)
    assert "'sat,sun 02:30 2h Europe/Athens'" in refused.value.hint
