"""The log survives whatever happens to it."""

import resource
from contextlib import contextmanager
from pathlib import Path

import pytest

from training_platform import journal as module
from training_platform.catalogue import Event
from training_platform.journal import Journal
from waypost.api.training.v1 import training_pb2
from waypost.errors import DataLoss, OutOfRange

NOW = 1000.5


def event(number: int) -> Event:
    return Event(version_published=training_pb2.PublishedVersion(application="a", model="m", version=str(number)))


def versions(journal: Journal) -> list[int]:
    return sorted(int(key[2]) for key in journal.catalogue.versions)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_sequences_rise_by_one_and_survive_a_restart(path):
    journal = Journal.open(path, now=NOW)
    journal.append([event(1), event(2)])
    journal = Journal.open(path, now=NOW + 99)
    journal.append([event(3)])
    assert [e.sequence for e in journal.after(1000)] == [1001, 1002, 1003]
    assert [e.sequence for e in journal.after(1002)] == [1003]
    assert journal.after(1003) == []
    assert versions(journal) == [1, 2, 3]


def test_a_log_cut_at_any_byte_is_a_log_with_fewer_events(path):
    journal = Journal.open(path, now=NOW)
    header = len(path.read_bytes())
    journal.append([event(1), event(2)])
    whole = path.read_bytes()
    for length in range(header, len(whole) + 1):
        path.write_bytes(whole[:length])
        cut = Journal.open(path, now=NOW)
        count = cut.last - cut.base
        assert count == whole[header:length].count(b"\n")
        cut.append([event(number) for number in range(count + 1, 4)])
        assert [e.sequence for e in Journal.open(path, now=NOW).after(1000)] == [1001, 1002, 1003]
        assert versions(cut) == [1, 2, 3]


def test_a_log_that_was_damaged_inside_is_refused_with_a_way_out(path):
    journal = Journal.open(path, now=NOW)
    journal.append([event(1), event(2)])
    path.write_bytes(path.read_bytes().replace(b'"version"', b"version", 1))
    with pytest.raises(DataLoss, match="move it away"):
        Journal.open(path, now=NOW)


def test_another_format_is_refused(path):
    path.write_text('{"format": 99, "base": 0}\n')
    with pytest.raises(DataLoss, match="format 99"):
        Journal.open(path, now=NOW)


@pytest.mark.parametrize("sequence", [-1, 1, 999, 1002, 5000])
def test_a_sequence_that_the_log_does_not_reach_is_out_of_range(path, sequence):
    journal = Journal.open(path, now=NOW)
    journal.append([event(1)])
    with pytest.raises(OutOfRange) as caught:
        journal.after(sequence)
    assert caught.value.reason == "START_OVER"


def test_a_log_that_was_deleted_never_repeats_a_number(path):
    journal = Journal.open(path, now=NOW)
    journal.append([event(number) for number in range(5)])
    last = journal.last
    path.unlink()
    fresh = Journal.open(path, now=NOW + 60)
    fresh.append([event(number) for number in range(9)])
    with pytest.raises(OutOfRange):
        fresh.after(last)


def test_the_older_half_goes_and_the_catalogue_stays(path, monkeypatch):
    monkeypatch.setattr(module, "EVENTS_MAX", 10)
    monkeypatch.setattr(module, "EVENTS_KEPT", 4)
    journal = Journal.open(path, now=NOW)
    for number in range(1, 30):
        journal.append([event(number)])
    again = Journal.open(path, now=NOW)
    for either in (journal, again):
        assert either.last == 1029
        assert versions(either) == list(range(1, 30))
        assert len(either.after(either.base)) <= 10
        assert either.after(either.last - 4)[0].sequence == 1026
        with pytest.raises(OutOfRange):
            either.after(1001)


@contextmanager
def files_no_longer_than(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_appends_nothing_and_harms_nothing(path):
    journal = Journal.open(path, now=NOW)
    journal.append([event(1)])
    before = path.read_bytes()
    with files_no_longer_than(len(before) + 20), pytest.raises(OSError, match="bytes fit into"):
        journal.append([event(2)])
    assert path.read_bytes() == before
    assert (journal.last, versions(journal)) == (1001, [1])
    journal.append([event(2)])
    assert versions(Journal.open(path, now=NOW)) == [1, 2]


def test_looking_leaves_the_file_alone(path):
    journal = Journal.open(path, now=NOW)
    journal.append([event(1)])
    path.write_bytes(path.read_bytes() + b'{"torn')
    assert versions(Journal.read(path)) == [1]
    assert path.read_bytes().endswith(b'{"torn')
