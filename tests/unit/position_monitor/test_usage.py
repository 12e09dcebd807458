"""CPU and memory of real processes: this one, and some that are not there."""

import os

from mesh import clock
from position_monitor.usage import MONITOR, Meter


def test_the_monitor_counts_itself() -> None:
    usage = Meter().read({}, now=clock.now(), now_s=1000.0)
    assert usage.keys() == {MONITOR}
    assert usage[MONITOR].memory_bytes > 1 << 20
    assert 0 < usage[MONITOR].cpu < 100


def test_cpu_is_what_was_used_since_the_last_reading() -> None:
    meter = Meter()
    meter.read({"r-aaaaaa": os.getpid()}, now=clock.now(), now_s=1000.0)
    later = meter.read({"r-aaaaaa": os.getpid()}, now=clock.now(), now_s=1_001_000.0)
    assert later["r-aaaaaa"].cpu < 0.001  # a moment's work over eleven days


def test_processes_that_cannot_be_seen_have_no_figures() -> None:
    gone = 2**22 + 1  # beyond the kernel's largest process id
    assert Meter().read({"gone": gone, "elsewhere": 0}, now=clock.now(), now_s=1.0).keys() == {MONITOR}
