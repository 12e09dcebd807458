"""Event loops take short turns, models long ones. What the kernel says of a thread afterwards."""

import ctypes
import os
import platform
import struct
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from inference_host.serving import turns

GETATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}.get(platform.machine())
SINCE = (6, 12)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux" or GETATTR is None, reason="slices are Linux's"),
    pytest.mark.skipif(
        tuple(map(int, os.uname().release.split(".")[:2])) < SINCE,
        reason=f"before Linux {SINCE} a slice is the kernel's",
    ),
]


def told(*steps: Callable[[], object]) -> tuple[int, int]:
    """Niceness and slice in ns of a thread after it has taken `steps`."""
    with ThreadPoolExecutor(1) as pool:
        for step in steps:
            pool.submit(step).result()
        return pool.submit(attributes).result()


def attributes() -> tuple[int, int]:
    buffer = ctypes.create_string_buffer(48)
    assert ctypes.CDLL(None).syscall(GETATTR, 0, buffer, 48, 0) == 0
    _, _, _, nice, _, slice_ns, _, _ = struct.unpack("=IIQiIQQQ", buffer.raw)
    return nice, slice_ns


def test_an_event_loop_takes_short_turns() -> None:
    assert told(turns.take_short) == (os.getpriority(os.PRIO_PROCESS, 0), turns.SHORT_NS)


def test_what_it_starts_is_given_long_ones() -> None:
    nice, ours_ns = told()
    found: list[tuple[int, int]] = []

    def start() -> None:
        thread = threading.Thread(target=lambda: (turns.give_way(), found.append(attributes())))
        thread.start()
        thread.join()

    assert told(turns.take_short, start) == (nice, turns.SHORT_NS)
    assert found == [(turns.NICENESS, ours_ns)]
    assert told(turns.take_short, turns.take_long) == (nice, ours_ns)


def test_whoever_was_given_another_policy_keeps_it() -> None:
    def batch() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    before = told(batch)
    assert told(batch, lambda: turns.take_short() and pytest.fail("it was set")) == before


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    assert not turns.take_short()
