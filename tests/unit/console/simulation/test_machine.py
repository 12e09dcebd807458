"""What this process may open, and what another one costs."""

import os
import resource

import pytest

from console.simulation import machine
from console.simulation.machine import Meter, allow_connections
from waypost.errors import Exhausted, NotFound


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """This process's limits of open files: (soft, hard)."""
    kept = {"now": (1024, 4096)}
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: kept["now"])
    monkeypatch.setattr(machine.resource, "setrlimit", lambda _, pair: kept.update(now=pair))
    return kept


def test_the_soft_limit_is_raised_as_far_as_is_needed(limits: dict[str, tuple[int, int]]) -> None:
    allow_connections(2000)
    assert limits["now"] == (2000 + machine.FILES_BESIDES, 4096)


def test_a_limit_that_suffices_is_left_alone(limits: dict[str, tuple[int, int]]) -> None:
    allow_connections(500)
    assert limits["now"] == (1024, 4096)


def test_a_hard_limit_that_is_too_low_is_named(limits: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(Exhausted) as refused:
        allow_connections(5000)
    assert refused.value.reason == "TOO_FEW_FILES"
    assert "4096" in refused.value.message
    assert "ulimit -Hn" in refused.value.hint


def test_without_a_hard_limit_anything_goes(limits: dict[str, tuple[int, int]]) -> None:
    limits["now"] = (1024, resource.RLIM_INFINITY)
    allow_connections(5000)
    assert limits["now"][0] == 5000 + machine.FILES_BESIDES


def test_what_a_process_uses_is_read_from_the_kernel() -> None:
    meter = Meter(os.getpid())
    before = meter.read()
    usage = meter.since(before)
    assert usage.cpu_s >= 0
    assert usage.memory_bytes > 1 << 20


def test_a_process_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound) as missing:
        Meter((1 << 22) + 1)  # above the kernel's largest pid
    assert missing.value.reason == "NO_PROCESS"
