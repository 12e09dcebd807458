"""Maintenance windows: when they open, whatever the clocks do."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from mesh.windows import Window, is_open, next_opening, on_the_wall, read_window
from waypost.api.control.v1 import edge_server_pb2 as pb
from waypost.errors import Invalid

SUNDAY = pb.WEEKDAY_SUNDAY


def window(start: str, duration_s: int = 3600, *days: pb.Weekday.ValueType, zone: str = "Europe/Berlin") -> Window:
    message = pb.MaintenanceWindow(days=days, start=start, duration=Duration(seconds=duration_s), time_zone=zone)
    return read_window(message)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
windows = st.builds(
    lambda minutes, duration_s, days, zone: window(
        f"{minutes // 60:02}:{minutes % 60:02}", duration_s, *days, zone=zone
    ),
    st.integers(0, 24 * 60 - 1),
    st.integers(60, 7 * 86400),
    st.lists(st.sampled_from(range(1, 8)), unique=True),
    st.sampled_from(ZONES),
)
found = st.lists(windows, min_size=1, max_size=3)
moments = st.floats(utc("2011-12-01"), utc("2035-01-01")).map(round)  # Samoa had no 30 December 2011


@given(found, moments)
def test_the_next_opening_lies_ahead_opens_and_is_the_first(windows: list[Window], now_s: int) -> None:
    opens_s, which = next_opening(windows, now_s)
    assert now_s < opens_s <= now_s + timedelta(days=8, hours=3).total_seconds()
    assert is_open(windows, opens_s)
    assert which in windows
    assert next_opening(windows, opens_s - 1)[0] == opens_s
    if not is_open(windows, now_s):
        assert not is_open(windows, opens_s - 1)


@given(windows, moments)
def test_it_is_open_for_its_duration_of_elapsed_time_and_begins_by_the_wall(one: Window, now_s: int) -> None:
    opens_s, _ = next_opening([one], now_s)
    assert is_open([one], opens_s + one.duration.total_seconds() - 1)
    wall = datetime.fromtimestamp(opens_s, one.zone)
    late = wall.replace(tzinfo=None) - datetime.combine(wall.date(), one.start)
    assert late in (timedelta(0), timedelta(minutes=30), timedelta(hours=1), timedelta(hours=-23))  # in a gap
    if late == timedelta(0):
        assert wall.weekday() in one.days
        assert not wall.fold


def test_a_window_of_every_day_opens_every_day() -> None:
    daily = window("23:00", 7200, zone="UTC")
    assert next_opening([daily], utc("2026-11-23 12:00"))[0] == utc("2026-11-23 23:00")
    assert is_open([daily], utc("2026-11-24 00:59"))
    assert not is_open([daily], utc("2026-11-24 01:00"))


def test_a_window_in_the_hour_that_is_left_out_opens_after_it() -> None:
    early = window("02:30", 3600, SUNDAY)  # 2026-03-29, 02:00 -> 03:00 in Berlin
    opens_s, which = next_opening([early], utc("2026-03-28 12:00"))
    assert opens_s == utc("2026-03-29 01:30")
    assert on_the_wall(opens_s, which) == "Sun 2026-03-29 03:30 CEST"


def test_a_window_in_the_hour_that_comes_twice_opens_once_at_the_first() -> None:
    late = window("02:30", 3600, SUNDAY)  # 2026-10-25, 03:00 -> 02:00 in Berlin
    opens_s, which = next_opening([late], utc("2026-10-24 12:00"))
    assert opens_s == utc("2026-10-25 00:30")
    assert on_the_wall(opens_s, which) == "Sun 2026-10-25 02:30 CEST"
    assert not is_open([late], utc("2026-10-25 01:30"))  # 02:30 once more
    assert next_opening([late], opens_s)[0] == utc("2026-11-01 01:30")


def test_a_window_over_the_end_of_summer_time_is_open_as_long_as_it_says() -> None:
    night = window("01:00", 3 * 3600, SUNDAY)
    assert is_open([night], utc("2026-10-25 01:59"))
    assert not is_open([night], utc("2026-10-25 02:00"))


def test_a_window_of_a_week_is_always_open() -> None:
    always = window("00:00", 7 * 86400, pb.WEEKDAY_MONDAY, zone="UTC")
    assert all(is_open([always], utc("2026-11-23") + hour * 3600) for hour in range(200))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (pb.MaintenanceWindow(start="2:30", duration=Duration(seconds=60)), "opens at '2:30'"),
        (pb.MaintenanceWindow(start="24:00", duration=Duration(seconds=60)), "opens at '24:00'"),
        (pb.MaintenanceWindow(start="02:30"), "open for 0 s"),
        (pb.MaintenanceWindow(start="02:30", duration=Duration(seconds=8 * 86400)), "open for 691200 s"),
        (pb.MaintenanceWindow(start="02:30", duration=Duration(seconds=60), days=[0]), "a day that is none"),
        (pb.MaintenanceWindow(start="02:30", duration=Duration(seconds=60), time_zone="Mars/Olympus"), "no time zone"),
        (pb.MaintenanceWindow(start="02:30", duration=Duration(seconds=60), time_zone="../../etc/passwd"), "no time"),
        (pb.MaintenanceWindow(start="02:30", duration=Duration(seconds=60), time_zone="Europe"), "no time zone"),
    ],
)
def test_what_is_no_window_is_refused(bad: pb.MaintenanceWindow, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        read_window(bad)
