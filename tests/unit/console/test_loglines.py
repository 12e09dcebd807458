"""Log lines as people read them."""

import time

import pytest

from console.loglines import readable


def test_json_becomes_a_line_with_its_time_and_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    line = (
        '{"took_ms": 67, "why": "two words", "reason": null, "event": "model_ready", "component": "host", '
        '"level": "info", "timestamp": "2026-11-22T22:22:25.522869Z"}'
    )
    assert readable(line) == '22:22:25.522  info     model_ready  took_ms=67  why="two words"'


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "", "[1]", '{"a": 1}', "{"])
def test_what_is_no_event_stays_as_it_is(line: str) -> None:
    assert readable(line) == line
