"""A process's log stays bounded, whatever the disk says."""

import errno
import shutil
from pathlib import Path
from unittest.mock import patch

from mesh.processes import LOG_BYTES_MAX, Process

FULL = OSError(errno.ENOSPC, "No space left on device")


def log_of(directory: Path, size: int) -> Path:
    log = directory / "log"
    with open(log, "wb") as file:
        file.truncate(size)
    return log


def test_a_log_that_is_too_large_is_kept_once_and_begun_anew(tmp_path: Path) -> None:
    log = log_of(tmp_path, LOG_BYTES_MAX + 1)
    Process(tmp_path).bound_log()
    assert (log.stat().st_size, (tmp_path / "log.1").stat().st_size) == (0, LOG_BYTES_MAX + 1)


def test_a_log_that_is_not_is_left_alone_and_so_is_one_that_is_not_there(tmp_path: Path) -> None:
    Process(tmp_path).bound_log()
    log = log_of(tmp_path, LOG_BYTES_MAX)
    Process(tmp_path).bound_log()
    assert log.stat().st_size == LOG_BYTES_MAX


def test_a_log_that_cannot_be_kept_is_emptied_all_the_same(tmp_path: Path) -> None:
    log = log_of(tmp_path, LOG_BYTES_MAX + 1)
    (tmp_path / "log.1").mkdir()  # nothing can be written there
    Process(tmp_path).bound_log()
    assert log.stat().st_size == 0


def test_half_a_copy_does_not_stay_on_a_full_disk(tmp_path: Path) -> None:
    log = log_of(tmp_path, LOG_BYTES_MAX + 1)

    def half(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise FULL

    with patch.object(shutil, "copyfile", half):
        Process(tmp_path).bound_log()
    assert log.stat().st_size == 0
    assert not (tmp_path / "log.1").exists()


def test_a_disk_that_refuses_everything_harms_nobody(tmp_path: Path) -> None:
    log_of(tmp_path, LOG_BYTES_MAX + 1)
    with patch.object(Path, "stat", side_effect=OSError(errno.EIO, "Input/output error")):
        Process(tmp_path).bound_log()
