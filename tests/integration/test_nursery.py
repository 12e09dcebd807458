"""Children that a nursery forks, as their parent sees them: processes like any other."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.nursery import PYTHON, Nursery
from mesh.processes import Process
from tests.waiting import PATIENCE_S, wait_until

CHILD = """
import json, os, random, signal, sys, time
if __name__ == "__main__":
    print(json.dumps({
        "argv": sys.argv[1:], "stdin": sys.stdin.read(), "loaded": "loaded" in sys.modules,
        "alone": os.getpgrp() == os.getpid(), "parent": os.getppid(), "random": random.random(),
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }), flush=True)
    if sys.argv[1:] == ["fork"] and os.fork() == 0:
        time.sleep(600)
    if sys.argv[1:] in (["wait"], ["fork"]):
        time.sleep(600)
    sys.exit(int(sys.argv[1]))
"""


def command(*arguments: str) -> list[str]:
    return [*PYTHON, "child", *arguments]


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / "loaded.py").write_text("")
    made = Nursery("a test's", ["child"], ["missing", "loaded"], {**os.environ, "PYTHONPATH": str(tmp_path)})
    yield made
    made.close()
    for path in tmp_path.glob("*/pid"):
        Process(path.parent).kill()


def said(process: Process) -> dict[str, Any]:
    wait_until(lambda: process.tail(1).startswith("{"))
    answer: dict[str, Any] = json.loads(process.tail(1))
    return answer


def started(nursery: Nursery, directory: Path, *arguments: str) -> Process:
    process = Process(directory)
    process.spawn(command(*arguments), nursery=nursery)
    return process


def test_a_child_is_what_python_would_have_made_of_the_command(nursery: Nursery, tmp_path: Path) -> None:
    process = started(nursery, tmp_path / "a", "wait")
    answer = said(process)
    assert (answer["argv"], answer["stdin"]) == (["wait"], "")
    assert answer["alone"]
    assert answer["interrupts"]
    assert answer["loaded"], "it was not imported before"
    pid = process.pid()
    assert pid is not None
    assert psutil.Process(pid).cmdline() == command("wait")


def test_the_end_of_a_child_is_seen_with_its_exit_code_however_it_ends(nursery: Nursery, tmp_path: Path) -> None:
    ended, killed = started(nursery, tmp_path / "a", "3"), started(nursery, tmp_path / "b", "wait")
    said(killed)
    assert killed.signal(signal.SIGKILL)
    wait_until(lambda: not ended.alive() and not killed.alive())
    assert (ended.exit_code(), killed.exit_code()) == (3, -signal.SIGKILL)


def test_one_that_ends_is_seen_to_while_a_younger_one_runs(nursery: Nursery, tmp_path: Path) -> None:
    older, younger = started(nursery, tmp_path / "a", "wait"), started(nursery, tmp_path / "b", "wait")
    assert said(older)["random"] != said(younger)["random"]
    older.signal(signal.SIGTERM)
    wait_until(lambda: not older.alive())
    assert younger.alive()


def test_one_that_forked_and_was_killed_has_ended_and_its_siblings_have_not(nursery: Nursery, tmp_path: Path) -> None:
    forked, sibling = started(nursery, tmp_path / "a", "fork"), started(nursery, tmp_path / "b", "wait")
    parent = said(sibling)["parent"]
    said(forked)
    pid = forked.pid()
    assert pid is not None
    wait_until(lambda: psutil.Process(pid).children())
    (child,) = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    assert asyncio.run(forked.ended(within_s=PATIENCE_S))
    assert forked.exit_code() == -signal.SIGKILL
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert sibling.alive()
    assert psutil.pid_exists(parent)


def test_a_child_outlives_the_nursery_which_the_next_one_does_not_need(nursery: Nursery, tmp_path: Path) -> None:
    before = started(nursery, tmp_path / "a", "wait")
    parent = psutil.Process(said(before)["parent"])
    parent.kill()
    wait_until(lambda: parent.status() == psutil.STATUS_ZOMBIE)  # else it may take the order with it
    after = started(nursery, tmp_path / "b", "wait")
    assert said(after)["parent"] != said(before)["parent"]
    assert before.alive()
    before.signal(signal.SIGKILL)
    wait_until(lambda: not before.alive())
    assert before.exit_code() is None, "nobody could hear it"


def test_an_order_that_dies_with_the_nursery_is_seen_as_an_end(nursery: Nursery, tmp_path: Path) -> None:
    os.kill(said(started(nursery, tmp_path / "a", "wait"))["parent"], signal.SIGSTOP)
    lost = started(nursery, tmp_path / "b", "wait")
    assert lost.alive()
    nursery.close()
    assert not lost.alive()
    assert (lost.pid(), lost.exit_code()) == (None, None)


def test_a_child_that_cannot_join_its_group_does_not_run_outside_it(nursery: Nursery, tmp_path: Path) -> None:
    process = Process(tmp_path / "a")
    process.spawn(command("wait"), joins=[tmp_path / "no-such-group" / "cgroup.procs"], nursery=nursery)
    wait_until(lambda: not process.alive())
    assert process.exit_code() == 125
    assert "no-such-group" in process.tail(1)


def test_a_command_that_is_not_its_own_is_started_without_it(nursery: Nursery, tmp_path: Path) -> None:
    process = Process(tmp_path / "a")
    process.spawn(["/bin/sh", "-c", "exit 4"], nursery=nursery)
    wait_until(lambda: not process.alive())
    assert process.exit_code() == 4
