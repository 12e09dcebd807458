"""Our own certificate is kept young, and a disk that is full takes nothing from who has one."""

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from control_plane.identity import own as under_test
from control_plane.identity.authority import SERVER_LIFE, Authority
from control_plane.identity.own import OwnIdentity
from control_plane.settings import ControlPlaneSettings
from tests.unit.control_plane.scenario import scenario, until
from waypost.errors import Exhausted

NOW = 1_800_000_000.0


class Clock:
    now = NOW


def opened(directory: Path, clock: Clock) -> OwnIdentity:
    authority = Authority.open(directory / "identity", now=clock.now)
    return OwnIdentity(ControlPlaneSettings(), authority, directory / "ca.pem", lambda: clock.now)


@contextmanager
def full_disk() -> Iterator[None]:
    with patch.object(os, "fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        yield


def test_a_full_disk_stops_neither_a_start_nor_a_look_where_nothing_is_to_be_written(tmp_path: Path) -> None:
    first = opened(tmp_path, Clock())
    with full_disk():
        first.refresh()
        assert opened(tmp_path, Clock()).link.current == first.link.current


@scenario
async def test_what_a_full_disk_cannot_take_is_said_and_shown_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    own = opened(tmp_path, clock)
    before = own.link.current
    clock.now += SERVER_LIFE.total_seconds()
    monkeypatch.setattr(under_test, "LOOK_S", 0.001)
    with capture_logs() as logs:
        looking = asyncio.create_task(own.run())
        with full_disk():
            with pytest.raises(Exhausted) as refused:
                own.refresh()
            await until(lambda: len(logs) > 1)
        assert (refused.value.reason, own.link.current) == ("DISK_FULL", before)
        assert {(line["event"], line["reason"]) for line in logs} == {("certificate_not_renewed", "DISK_FULL")}
        await until(lambda: own.link.current != before)
        looking.cancel()


def test_roots_for_clients_that_somebody_took_away_are_put_back(tmp_path: Path) -> None:
    own = opened(tmp_path, Clock())
    (tmp_path / "ca.pem").write_bytes(b"something else")
    own.refresh()
    assert (tmp_path / "ca.pem").read_bytes() == own.api_roots
