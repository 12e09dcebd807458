"""Real child processes: found again, never doubled, gone when told."""

import asyncio
import contextlib
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mesh.processes import LOG_BYTES_MAX, Process
from tests.waiting import wait_until
from waypost.errors import Precondition

SLEEPER = ["sleep", "600"]
LEAVES_A_CHILD = ["sh", "-c", "sleep 600 & echo $!; wait"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """Whatever a test has left of it is killed."""
    made = Process(tmp_path / "process")
    yield made
    made.kill()


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def left_alone(process: Process) -> psutil.Process:
    """Kills the process, and nobody else; returns its child, which lives."""
    until(lambda: process.tail(1))
    child = psutil.Process(int(process.tail(1)))
    pid = process.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: process.pid() is None)
    return child


def gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def start_elsewhere(directory: Path, argv: list[str]) -> None:
    start = f"import pathlib, mesh.processes as p; p.Process(pathlib.Path({str(directory)!r})).spawn({argv})"
    subprocess.run([sys.executable, "-c", start], check=True)


def test_a_process_outlives_its_parent_and_is_found_again(tmp_path: Path) -> None:
    start_elsewhere(tmp_path, SLEEPER)
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


@pytest.mark.parametrize("beside_us", [False, True])
def test_one_that_dies_before_its_child_has_ended_and_the_child_ends_with_it(
    process: Process, *, beside_us: bool
) -> None:
    process.spawn(LEAVES_A_CHILD, beside_us=beside_us)
    child = left_alone(process)
    assert not process.signal(signal.SIGTERM), "its id may be a stranger's"
    assert child.is_running()
    assert asyncio.run(process.ended(within_s=5))
    assert process.exit_code() == -signal.SIGKILL
    until(lambda: gone(child))
    process.spawn(SLEEPER)
    asyncio.run(process.stop(grace_s=5))


def test_a_dead_process_of_somebody_else_is_known_to_be_dead_though_its_child_lives(process: Process) -> None:
    start_elsewhere(process.directory, LEAVES_A_CHILD)
    child = left_alone(process)
    assert asyncio.run(Process(process.directory).ended(within_s=5))
    until(lambda: gone(child))


def test_what_a_dead_process_left_can_be_stopped(process: Process) -> None:
    process.spawn(LEAVES_A_CHILD)
    child = left_alone(process)
    asyncio.run(process.stop(grace_s=5))
    assert not process.alive()
    until(lambda: gone(child))


def test_killing_one_kills_its_children(process: Process) -> None:
    process.spawn(LEAVES_A_CHILD)
    until(lambda: process.tail(1))
    child = psutil.Process(int(process.tail(1)))
    assert not process.end_rest(), "it runs"
    assert process.kill()
    assert asyncio.run(process.ended(within_s=5))
    until(lambda: gone(child))
    assert not process.kill()


def test_a_stranger_with_the_id_of_a_dead_process_is_left_alone(process: Process) -> None:
    process.spawn(SLEEPER)
    until(process.pid)
    written = (process.directory / "stat").read_text().split()
    asyncio.run(process.stop(grace_s=5))
    with (
        subprocess.Popen(SLEEPER, process_group=0) as stranger,
        open(process.directory / "lock") as held,  # as by a child that has left the group of the dead
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        (process.directory / "pid").write_text(f"{stranger.pid}\n")
        (process.directory / "stat").write_text(" ".join([str(stranger.pid), *written[1:]]))
        assert process.pid() is None
        assert not process.signal(signal.SIGKILL)
        assert not process.kill()
        assert not asyncio.run(process.ended(within_s=0.1))
        assert stranger.poll() is None
        stranger.kill()


def test_one_that_an_older_version_of_us_started_is_found_by_its_lock_alone(process: Process) -> None:
    process.spawn(SLEEPER)
    until(process.pid)
    (process.directory / "stat").unlink()
    assert process.pid() is not None
    asyncio.run(process.stop(grace_s=5))
    assert process.exit_code() == -signal.SIGTERM


def test_one_that_is_started_while_somebody_looks_whether_it_runs_starts(process: Process) -> None:
    process.directory.mkdir()
    with open(process.directory / "lock", "w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN))
        end.start()
        process.spawn(SLEEPER)
        end.join()
    asyncio.run(process.stop(grace_s=5))


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
