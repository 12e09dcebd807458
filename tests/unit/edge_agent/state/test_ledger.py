"""The ledger survives a kill between any two writes, damage to a page, a full disk, and a change of format."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.box.upgrade import CheckSettings, check
from edge_agent.links.uplink import _ledger_trouble
from edge_agent.model_version import Version
from edge_agent.position.diff import Entry, Route
from edge_agent.position.mode import Kind, Mode
from edge_agent.position.record import Record, Slot
from edge_agent.state.ledger import Ledger, _record_from, _record_to
from edge_agent.state.pages import Page
from mesh.link import DesiredState, Item
from waypost.api.link.v1.monitor_link_pb2 import Decision
from waypost.errors import Exhausted, Precondition, Unavailable

UID = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0001"
UID_ALIKE = "7f4c2c1e-5a51-4b77-9a3c-0d7a5f1f0002"
POSITION = "projects/p/applications/a/positions/tower-7"
STATE = DesiredState.of("store-1", 4, [Item(POSITION, 2, b"\x00\xff assignment")])


class Killed(BaseException):
    """The process is gone."""


def killed_at(call: int, work: Callable[[], None]) -> bool:
    """Does `work` and dies at its n-th change of the file system; True where it got that far."""
    changes = {"left": call}

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def change(*arguments: object, **keywords: object) -> object:
            if changes["left"] == 0:
                raise Killed
            changes["left"] -= 1
            return real(*arguments, **keywords)

        return change

    names = ("replace", "link", "fsync")
    with patch.multiple(os, **{name: dying(getattr(os, name)) for name in names}):
        try:
            work()
        except Killed:
            return True
    return False


def test_a_kill_at_any_moment_leaves_the_old_page_or_the_new_one(tmp_path: Path) -> None:
    for call in range(20):
        directory = tmp_path / str(call)
        directory.mkdir()
        Page(directory / "p.json").write("old")
        Page(directory / "p.json").write("present")
        killed = killed_at(call, lambda: Page(directory / "p.json").write("new"))  # noqa: B023
        page = Page(directory / "p.json")
        assert page.read() in (("present", "new") if killed else ("new",))
        assert not page.damaged
        page.write("newer")
        assert Page(directory / "p.json").read() == "newer"
        if not killed:
            assert call > 3
            return
    raise AssertionError("it never got to its end")


@pytest.mark.parametrize("damage", [b"", b"{", b'{"format": 1, "sha256": "0"}\n{}', b"\x00" * 100])
def test_a_damaged_page_is_set_aside_and_the_previous_one_used(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "p.json"
    Page(path).write("one")
    Page(path).write("two")
    path.write_bytes(damage)
    page = Page(path)
    assert page.read() == "one"
    assert page.damaged
    assert path.with_name("p.json.corrupt").read_bytes() == damage
    page.write("three")
    assert Page(path).read() == "three"


def test_a_disk_that_shows_nothing_and_takes_nothing_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    Ledger(tmp_path).keep_desired(STATE)
    refuse = OSError(errno.EIO, "Input/output error")
    with (
        patch.object(Path, "read_bytes", side_effect=refuse),
        patch.object(os, "replace", side_effect=refuse),
        pytest.raises(Unavailable) as caught,
    ):
        Ledger(tmp_path)
    assert caught.value.reason == "STORAGE_FAILED"
    assert Ledger(tmp_path).desired == STATE


def test_a_page_whose_bytes_changed_on_disk_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Page(path).write({"replicas": 1})
    path.write_bytes(path.read_bytes().replace(b"1}", b"7}"))
    page = Page(path)
    assert page.read() is None
    assert page.damaged


def test_who_asks_whether_it_can_go_on_changes_nothing_for_the_agent_that_runs(tmp_path: Path) -> None:
    directory = tmp_path / "ledger"
    directory.mkdir()
    Ledger(directory).keep_desired(STATE)
    (directory / "desired.json").write_bytes(b"torn")
    (directory / "mode.json").write_bytes(b"torn")
    before = sorted(path.name for path in directory.iterdir())
    check(CheckSettings(data_dir=tmp_path))
    assert sorted(path.name for path in directory.iterdir()) == before
    Page(directory / "clock.json", form=2).write(0.0)
    with pytest.raises(Precondition, match="has format 2"):
        check(CheckSettings(data_dir=tmp_path))


def test_a_page_of_the_previous_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Page(path, 1).write({"name": "x"})
    assert Page(path, 2, {1: lambda page: {**page, "port": 0}}).read() == {"name": "x", "port": 0}


def test_a_page_of_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    Page(path, 2).write("x")
    with pytest.raises(Precondition, match="has format 2, this agent reads formats up to 1"):
        Page(path, 1).read()
    assert Page(path, 2).read() == "x"


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep_desired(STATE)
    with (
        patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")),
        pytest.raises(Exhausted, match="no space left") as caught,
    ):
        ledger.keep_desired(DesiredState.of("store-1", 5, []))
    assert caught.value.reason == "DISK_FULL"
    assert ledger.desired == STATE
    assert Ledger(tmp_path).desired == STATE
    assert {path.name for path in tmp_path.iterdir()} <= {"desired.json", "desired.json.previous"}


def test_a_session_begins_on_a_full_disk_and_its_number_is_written_when_there_is_room(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep_epoch(3)
    with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        ledger.keep_epoch(9)
        assert ledger.epoch == 9
        ledger.catch_up()
        assert ledger.unwritten is not None
        assert ledger.unwritten.reason == "DISK_FULL"
        assert Ledger(tmp_path).epoch == 3
    ledger.catch_up()
    assert ledger.unwritten is None
    assert Ledger(tmp_path).epoch == 9


def test_the_session_by_which_a_desired_state_came_is_never_newer_than_the_one_beside_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        ledger.keep_epoch(9)
    ledger.keep_desired(STATE)
    assert (Ledger(tmp_path).desired, Ledger(tmp_path).epoch) == (STATE, 9)


def test_a_disk_that_takes_again_what_nobody_says_twice_is_found_out(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.catch_up()
    assert list(tmp_path.iterdir()) == []
    with (
        patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")),
        pytest.raises(Exhausted),
    ):
        ledger.keep_mode(Mode(Kind.HOLD))
    assert ledger.unwritten is not None
    ledger.catch_up()
    assert ledger.unwritten is None


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert not ledger.informed
    ledger.keep_desired(STATE)
    ledger.keep_epoch(9)
    ledger.keep_decision(UID, Decision(number=3, generation=2, reason="because"))
    record = replace(ledger.open_record(UID, POSITION), port=7700, slots={"r-a": Slot(Version("m/1", "sha256:1"), "v")})
    ledger.keep_record(record)
    again = Ledger(tmp_path)
    assert again.informed
    assert (again.desired, again.desired.hash, again.epoch) == (STATE, STATE.hash, 9)
    assert again.decision(UID) == Decision(number=3, generation=2, reason="because")
    assert again.records == {UID: record}
    again.forget(UID)
    assert Ledger(tmp_path).records == {}
    assert Ledger(tmp_path).decision(UID) is None


def test_what_was_refused_keeps_the_hash_that_was_sent(tmp_path: Path) -> None:
    merged = DesiredState("store-1", 5, {}, "hash of what was sent")
    Ledger(tmp_path).keep_desired(merged)
    assert Ledger(tmp_path).desired.hash == "hash of what was sent"


def test_an_older_decision_is_ignored(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert ledger.keep_decision(UID, Decision(number=4))
    assert not ledger.keep_decision(UID, Decision(number=4, reason="again"))
    assert not ledger.keep_decision(UID, Decision(number=3))
    assert ledger.keep_decision(UID, Decision(number=5))
    assert Ledger(tmp_path).decision(UID) == Decision(number=5)


def test_uids_that_begin_alike_get_directories_of_their_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    shorts = {ledger.open_record(uid, POSITION).short for uid in (UID, UID_ALIKE, UID)}
    assert shorts == {"7f4c2c1e", "7f4c2c1e5"}


def test_a_port_is_given_out_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep_record(replace(ledger.open_record(UID, POSITION), port=7700))
    assert ledger.free_port(range(7700, 7702)) == 7701
    assert ledger.free_port(range(7700, 7701)) is None


versions = st.builds(Version, st.text(), st.text())
records = st.builds(
    Record,
    uid=st.just(UID),
    position=st.text(),
    short=st.text(),
    port=st.integers(0, 65535),
    slots=st.dictionaries(st.text(), st.builds(Slot, versions, st.text())),
    route=st.builds(Route, st.lists(st.builds(Entry, st.text(), st.text(), st.integers(0, 100))).map(tuple)),
    route_generation=st.integers(0),
    good=st.none() | versions,
    good_generation=st.integers(0),
    versions=st.dictionaries(st.text(), st.binary()),
)


@given(records)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert _record_from(json.loads(json.dumps(_record_to(record)))) == record


def test_a_ledger_that_cannot_be_written_is_told_and_so_is_one_that_was_damaged(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.keep_epoch(3)
    assert _ledger_trouble(ledger) is None
    with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        ledger.keep_epoch(9)
    told = _ledger_trouble(ledger)
    assert told is not None
    assert told.reason == "LEDGER_NOT_WRITTEN"
    assert "no space left" in told.message
    (tmp_path / "desired.json").write_bytes(b"torn")
    damaged = _ledger_trouble(Ledger(tmp_path))
    assert damaged is not None
    assert damaged.reason == "LEDGER_DAMAGED"
