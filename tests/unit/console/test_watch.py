"""`waypost watch` against a platform that reports."""

import json
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from console.kinds import POSITION
from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform
from waypost.api.control.v1.position_pb2 import PositionMetrics, WatchPositionMetricsResponse

TOWER = "projects/uav/applications/path/positions/tower-7"


def serve(platform: FakePlatform) -> None:
    position = POSITION.new(TOWER)
    position.status.state = 3
    position.status.message = "all is well"
    platform.put(position)
    metrics = PositionMetrics(name=TOWER, window_ms=1000, requests=42, time=Timestamp(seconds=1))
    platform.answers["WatchPositionMetrics"] = lambda request: iter([WatchPositionMetricsResponse(metrics=metrics)])


def test_programs_get_a_line_with_state_and_figures(platform: FakePlatform, waypost: Run) -> None:
    serve(platform)
    code, out, _ = waypost("watch", "uav/path/tower-7", "-o", "json", "--for", "1.5")
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert lines[-1]["state"] == "IN_SERVICE"
    assert lines[-1]["figures"]["requests_per_s"] == 42


def test_people_get_a_page(platform: FakePlatform, waypost: Run) -> None:
    serve(platform)
    code, out, _ = waypost("watch", "uav/path/tower-7", "--for", "0")  # from the first answer on
    assert code == 0
    assert "IN_SERVICE" in out
    assert "all is well" in out


def test_a_position_that_does_not_exist_is_said_at_once(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("watch", "uav/path/tower-9")[0] == 3


def test_a_position_that_goes_away_ends_the_watch(platform: FakePlatform, waypost: Run) -> None:
    serve(platform)

    def go(request: object) -> Any:
        platform.resources.pop(TOWER, None)
        return iter([])

    platform.answers["WatchPositionMetrics"] = go
    code, _, err = waypost("watch", "uav/path/tower-7", "--for", "10")
    assert code == 3
    assert "uav/path/tower-7 was deleted" in err
