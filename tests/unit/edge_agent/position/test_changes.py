"""What is carried out at a position while it may not be changed, or cannot be."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.failure import Failure
from edge_agent.position.assignments import Assignment, assignment_of
from edge_agent.position.changes import ALWAYS, Choice, Rules, choose, is_own, last_of, read_rules
from edge_agent.position.mode import FOLLOW, Kind, Mode
from mesh.link import Item
from mesh.version import VERSION
from tests.unit.edge_agent.rig import assignment
from waypost.api.control.v1.edge_server_pb2 import WEEKDAY_SUNDAY, MaintenanceWindow
from waypost.api.link.v1.agent_link_pb2 import EdgeServerAssignment, PositionAssignment, TokenHash
from waypost.errors import Invalid

SERVER = "edgeServers/edge-1"
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
SUNDAY = datetime(2026, 11, 29, 2, 15, tzinfo=UTC).timestamp()
WINDOW = MaintenanceWindow(days=[WEEKDAY_SUNDAY], start="02:00", duration=Duration(seconds=3600))
HELD = Mode(Kind.HOLD, "exam", 1.0)


def own(**more: Any) -> Item:
    message = EdgeServerAssignment(edge_server=SERVER, maintenance_windows=[WINDOW], **more)
    return Item(SERVER, 1, message.SerializeToString())


WINDOWS = read_rules(own())


def asked(version: str = "1", generation: int = 1, software: str = "", **more: Any) -> Assignment:
    message = assignment(version, generation=generation, **more)
    message.spec.software_version = software
    return assignment_of(message)


def chosen(wanted: Assignment, last: Assignment | None, **more: Any) -> Choice:
    given: dict[str, Any] = {
        "served": True,
        "rules": WINDOWS,
        "mode": FOLLOW,
        "installed": lambda version: version in (VERSION, "0.0.9"),
        "missing": lambda version: Failure("SOFTWARE_NOT_INSTALLED", version),
        "now_s": MONDAY,
        **more,
    }
    return choose(wanted, last, **given)


def held_for(choice: Choice) -> str:
    return choice.held.reason if choice.held else ""


def test_outside_of_its_windows_a_position_in_service_keeps_what_it_runs() -> None:
    last, wanted = asked(), asked("2", 2)
    choice = chosen(wanted, last)
    assert (choice.assignment, held_for(choice)) == (last, "MAINTENANCE_WINDOW")
    assert choice.held is not None
    assert choice.held.message == "generation 2 waits for the maintenance window that opens Sun 2026-11-29 02:00 UTC"
    assert choice.held.hint == "`waypost position allow-changes p/a/tower-7` lets it be changed now"
    assert chosen(wanted, last, now_s=SUNDAY) == Choice(wanted)


@pytest.mark.parametrize(
    "more",
    [
        {"rules": ALWAYS},
        {"served": False},
        {"rules": read_rules(own(changes_allowed_until=Timestamp(seconds=int(MONDAY) + 60)))},
    ],
    ids=["no windows", "never in service", "allowed on the edge server"],
)
def test_a_change_is_carried_out_at_once_where_nothing_speaks_against_it(more: dict[str, Any]) -> None:
    wanted = asked("2", 2)
    assert chosen(wanted, asked(), **more) == Choice(wanted)


def test_a_change_that_was_allowed_for_this_position_waits_for_nothing_until_then() -> None:
    wanted = asked("2", 2)
    wanted.message.changes_allowed_until.FromSeconds(int(MONDAY) + 60)
    assert chosen(wanted, asked()) == Choice(wanted)
    assert held_for(chosen(wanted, asked(), now_s=MONDAY + 60)) == "MAINTENANCE_WINDOW"


@pytest.mark.parametrize("mode", [FOLLOW, HELD])
def test_what_changes_nothing_that_runs_waits_for_nothing(mode: Mode) -> None:
    wanted = asked(generation=2)
    wanted.message.spec.on_disconnect.stop_after.FromSeconds(60)
    wanted.message.tokens.add(credential="c", sha256="new")
    assert chosen(wanted, asked(), mode=mode) == Choice(wanted)


def test_whoever_is_told_to_go_goes() -> None:
    wanted = asked(generation=2, deleting=True)
    assert chosen(wanted, asked()) == Choice(wanted)


def test_a_token_is_revoked_at_once_whatever_else_waits() -> None:
    last, wanted = asked(), asked("2", 2)
    last.message.tokens.add(credential="c", sha256="old")
    wanted.message.tokens.add(credential="c", sha256="new")
    choice = chosen(wanted, last)
    assert list(choice.assignment.message.tokens) == [TokenHash(credential="c", sha256="new")]
    assert choice.assignment.wanted == last.wanted


def test_changes_held_on_the_machine_are_held_in_every_window() -> None:
    choice = chosen(asked("2", 2), asked(), mode=HELD, now_s=SUNDAY)
    assert (choice.assignment, held_for(choice)) == (asked(), "HELD")


def test_what_is_held_neither_comes_nor_goes_and_keeps_its_tokens() -> None:
    last = asked()
    last.message.tokens.add(credential="c", sha256="old")
    assert chosen(asked(generation=2, deleting=True), last, mode=HELD).assignment == last
    new = asked()
    assert chosen(new, None, served=False, mode=HELD) == Choice(new, HELD.restriction, runnable=False)


def test_what_is_held_and_does_not_serve_yet_is_held_as_well() -> None:
    last = asked()
    assert chosen(asked("2", 2), last, served=False, mode=HELD).assignment == last


def test_what_an_older_agent_left_serving_without_a_word_about_it_is_not_ended_by_holding_it() -> None:
    wanted = asked()
    assert chosen(wanted, None, served=True, mode=HELD) == Choice(wanted)


def test_software_that_is_not_installed_leaves_the_last_good_one_in_force() -> None:
    last, wanted = asked(), asked("2", 2, software="0.9.0")
    choice = chosen(wanted, last, rules=ALWAYS)
    assert (choice.assignment, held_for(choice), choice.runnable) == (last, "SOFTWARE_NOT_INSTALLED", True)


def test_a_first_deployment_whose_software_is_not_installed_runs_nothing() -> None:
    wanted = asked(software="0.9.0")
    choice = chosen(wanted, None, served=False)
    assert (choice.assignment, held_for(choice), choice.runnable) == (wanted, "SOFTWARE_NOT_INSTALLED", False)


def test_an_upgraded_agent_keeps_the_software_that_serves_until_a_window_opens() -> None:
    last, wanted = asked(software="0.0.9"), asked()
    assert wanted.software == VERSION
    assert chosen(wanted, last).assignment.software == "0.0.9"
    assert chosen(wanted, last, now_s=SUNDAY) == Choice(wanted)
    assert chosen(wanted, last, mode=HELD).assignment.software == "0.0.9"


def test_software_that_is_gone_is_not_waited_with_for_what_ends_could_not_be_started_again() -> None:
    wanted = asked()
    assert chosen(wanted, asked(software="0.0.8")) == Choice(wanted)


versions, software = st.sampled_from("123"), st.sampled_from(["", "0.0.9", "0.9.0"])
assignments = st.builds(asked, versions, st.integers(1, 5), software)


@given(assignments, st.none() | assignments, st.booleans(), st.sampled_from([WINDOWS, ALWAYS]), st.floats(0, 2e9))
def test_what_is_carried_out_is_wanted_or_was_carried_out_before_and_is_chosen_again(
    wanted: Assignment, last: Assignment | None, served: bool, rules: Rules, now_s: float
) -> None:
    choice = chosen(wanted, last, served=served, rules=rules, now_s=now_s)
    assert choice.assignment in (wanted, last)
    assert (choice.held is None) <= (choice.assignment == wanted)
    if choice.runnable:
        assert chosen(wanted, choice.assignment, served=served, rules=rules, now_s=now_s) == choice


def test_the_item_of_an_edge_server_is_no_position_and_an_unreadable_one_is_refused() -> None:
    assert is_own(own())
    assert not is_own(Item(asked().position, 1, b""))
    for body in (b"\xff", EdgeServerAssignment(maintenance_windows=[WINDOW] * 17).SerializeToString()):
        with pytest.raises(Invalid):
            read_rules(Item(SERVER, 1, body))
    assert read_rules(Item(SERVER, 1, b"")) == ALWAYS


def test_an_agent_that_knows_no_such_items_finds_no_position_in_one() -> None:
    read = PositionAssignment.FromString(own().body)
    assert (read.position, read.uid, read.generation) == (SERVER, "", 0)


def test_what_was_written_down_is_read_as_it_was_carried_out() -> None:
    carried = asked(software="0.0.9")
    assert last_of(carried.message.SerializeToString()) == carried
    assert last_of(b"") is None
