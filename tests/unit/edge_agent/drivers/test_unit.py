"""Why a process ended, read from what it has left: its own words, which may be anything, and its exit code."""

import asyncio
import fcntl
import json
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pytest

from edge_agent.drivers.unit import NOTE_BYTES_MAX, About, Unit
from edge_agent.failure import Failure
from waypost.api.control.v1.position_pb2 import ReplicaStatus


def failure(directory: Path, note: bytes | None = None, code: int | None = None) -> Failure | None:
    """Of a process that was started once and has ended."""

    async def look() -> Failure | None:
        unit = Unit(directory, lambda: None)
        unit.close()
        return unit.observe().failure

    (directory / "unit.json").write_text(json.dumps(asdict(About("r-1", starts=1))))
    if note is not None:
        (directory / "failure.json").write_bytes(note)
    if code is not None:
        (directory / "exit").write_text(str(code))
    return asyncio.run(look())


def note(**more: str) -> bytes:
    return json.dumps({"reason": "TEMPLATE_FAILED", "message": "no", "hint": "", **more}).encode()


def test_what_it_said_itself_comes_first(tmp_path: Path) -> None:
    assert failure(tmp_path, note(hint="mend it"), code=3) == Failure("TEMPLATE_FAILED", "no", "mend it")


def test_what_a_template_said_fits_into_a_report(tmp_path: Path) -> None:
    found = failure(tmp_path, note(message="\ud800 \0 \x1b[1m" + "x" * 20_000, hint="\udfff"))
    assert found is not None
    assert ReplicaStatus(message=found.message).message.startswith("� � �[1mxxx")
    assert len(found.message) < 10_000
    assert found.hint == "�"


@pytest.mark.parametrize(
    "said", [b"[" * 50_000, b"{", b"", b"[]", b"\xff", note(reason="a reason"), note(message="x" * NOTE_BYTES_MAX)]
)
def test_a_note_that_is_none_leaves_the_exit_code(tmp_path: Path, said: bytes) -> None:
    found = failure(tmp_path, said, code=3)
    assert found is not None
    assert (found.reason, found.message) == ("CRASHED", "its process ended with exit code 3")


def test_an_end_by_a_signal_without_a_name_is_told(tmp_path: Path) -> None:
    found = failure(tmp_path, code=-63)
    assert found is not None
    assert found.message == "its process was ended by signal 63"


def test_one_that_is_to_be_killed_again_and_again_is_killed_once(tmp_path: Path) -> None:
    async def run(held: IO[str]) -> None:
        unit = Unit(tmp_path, lambda: None)
        unit.start(About("r-a"), "", lambda process: fcntl.flock(held, fcntl.LOCK_EX))
        unit.kill(Failure("NOT_ANSWERING", "it did not answer for 30 s"))
        waiting = len(unit._timers)
        unit.kill(Failure("NOT_ANSWERING", "it did not answer for 31 s"))
        assert len(unit._timers) == waiting
        unit.close()

    with open(tmp_path / "lock", "w") as held:
        asyncio.run(run(held))
