"""Real child processes: found again, never doubled, gone when told."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mesh.processes import LOG_BYTES_MAX, Process
from tests.waiting import wait_until
from waypost.errors import Precondition

SLEEPER = ["sleep", "600"]


def test_a_process_outlives_its_parent_and_is_found_again(tmp_path: Path) -> None:
    start = f"import pathlib, mesh.processes as p; p.Process(pathlib.Path({str(tmp_path)!r})).spawn({SLEEPER})"
    subprocess.run([sys.executable, "-c", start], check=True)
    found = Process(tmp_path)
    assert found.alive()
    with pytest.raises(Precondition, match="already runs"):
        Process(tmp_path).spawn(SLEEPER)
    asyncio.run(found.stop(grace_s=5))
    assert not found.alive()
    assert found.pid() is None


@pytest.mark.parametrize("beside_us", [False, True])
def test_it_has_a_group_of_its_own_and_where_it_is_wanted_a_session(tmp_path: Path, *, beside_us: bool) -> None:
    process = Process(tmp_path)
    process.spawn(SLEEPER, beside_us=beside_us)
    pid = wait_until(process.pid)
    assert pid is not None
    assert os.getpgid(pid) == pid
    assert os.getsid(pid) == (os.getsid(0) if beside_us else pid)
    asyncio.run(process.stop(grace_s=5))


def test_whoever_drops_a_running_process_hears_no_warning(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.spawn(SLEEPER)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del process
        gc.collect()
    assert warned == []
    asyncio.run(Process(tmp_path).stop(grace_s=5))


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.spawn(["sh", "-c", "trap '' TERM; while :; do sleep 600; done"])
    asyncio.run(process.stop(grace_s=0.2))
    assert not process.alive()


def test_the_end_of_a_child_is_seen_with_its_exit_code(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.spawn(["sh", "-c", "echo said; exit 3"])
    assert asyncio.run(process.ended(within_s=5))
    assert process.exit_code() == 3
    assert process.tail(1) == "said"


def test_a_killed_process_is_not_alive(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.spawn(SLEEPER)
    asyncio.run(process._wait_for_pid())
    pid = process.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert asyncio.run(process.ended(within_s=5))


def test_the_log_is_bounded_while_the_child_writes(tmp_path: Path) -> None:
    process = Process(tmp_path)
    process.spawn(["sh", "-c", "while :; do head -c 1000000 /dev/zero; done"])
    wait_until(lambda: (tmp_path / "log").stat().st_size, lambda size: size > LOG_BYTES_MAX)
    process.signal(signal.SIGSTOP)
    process.bound_log()
    assert (tmp_path / "log").stat().st_size < LOG_BYTES_MAX
    assert (tmp_path / "log.1").stat().st_size > LOG_BYTES_MAX
    process.signal(signal.SIGCONT)
    asyncio.run(process.stop(grace_s=1))
