"""The check of a package as a process: nothing of it is left when its verdict is there."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from control_plane.registry.check import PackageCheck
from waypost.errors import Invalid

PATIENCE_S = 10.0


def test_what_a_check_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, told = tmp_path / "package", tmp_path / "pid"
    package.mkdir()
    host = tmp_path / "host"
    host.write_text(f"#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >{told}\n")
    host.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(host))
    with pytest.raises(Invalid) as refused:
        asyncio.run(PackageCheck(PATIENCE_S)(package))
    assert refused.value.reason == "CHECK_CRASHED"
    left = int(told.read_text())
    deadline = time.monotonic() + PATIENCE_S
    try:
        while lives(left):
            assert time.monotonic() < deadline, "what the check has started goes on"
            time.sleep(0.01)
    finally:
        if lives(left):
            os.kill(left, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether the process runs; what nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
