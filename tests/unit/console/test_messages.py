"""Messages as people read them."""

from console import messages
from waypost.api.control.v1.edge_server_pb2 import EdgeServer
from waypost.api.control.v1.position_pb2 import Position

NOW = 1_700_000_300.0


def position() -> Position:
    position = Position(name="projects/u/applications/a/positions/p", uid="7", labels={"b": "1", "a": "2"}, etag="x")
    position.spec.resources.memory_bytes = 512 << 20
    position.status.state = 3
    condition = position.status.conditions.add(type="HostsReady", status=2, reason="LOAD_FAILED", message="no operator")
    condition.since.FromSeconds(1_700_000_000)
    position.status.conditions.add(type="RouteReady", status=1)
    return position


def test_everything_that_is_set_is_shown_in_words() -> None:
    assert messages.outline(position(), NOW) == (
        "name:    projects/u/applications/a/positions/p\n"
        "labels:  a=2, b=1\n"
        "spec:\n"
        "  resources:\n"
        "    memory:  512 MiB\n"
        "status:\n"
        "  state:  IN_SERVICE\n"
        "  conditions:\n"
        "    TYPE        STATUS  REASON       SINCE\n"
        "    HostsReady  FALSE   LOAD_FAILED  5 min ago\n"
        "        message: no operator\n"
        "    RouteReady  TRUE    -            -"
    )


def test_a_state_from_a_newer_platform_is_shown_by_its_number() -> None:
    server = EdgeServer()
    server.status.state = 99
    assert messages.word(server.status, "state") == "STATE_99"


def test_times_that_were_never_set_are_not_shown_as_1970() -> None:
    empty = EdgeServer().create_time
    assert messages.age(empty, NOW) == ""
    assert messages.until(empty, NOW) == "never"


def test_times_to_come_and_gone_are_told_apart() -> None:
    time = EdgeServer().create_time
    time.FromSeconds(int(NOW) + 7200)
    assert messages.until(time, NOW) == "in 2 h"
    assert messages.until(time, NOW + 7260) == "1 min ago"


def test_what_is_false_comes_before_what_is_not_known() -> None:
    shown = position()
    shown.status.conditions.insert(0, shown.status.conditions[0])
    shown.status.conditions[0].status = 3
    assert [condition.status for condition in messages.failing(shown.status.conditions)] == [2, 3]
