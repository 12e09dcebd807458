"""How threads of one core take turns: event loops often and briefly, models seldom and for long.

An event loop wants a core for microseconds at a time, a model for milliseconds. By itself the kernel lets whoever runs
go on for a slice of some milliseconds, and who has just woken up waits for its end. So loops ask for a short slice: in
return for running no longer than that they may interrupt (EEVDF; a slice of one's own is `sched_runtime` of
sched_setattr(2), since Linux 6.12). And threads of models are nice, so that a loop gets the core back at once.

Beside a model that takes 2 ms, on one core, the slowest of a tiny model's answers take as long as without it; with
neither of both, three times as long. Nobody outside gains or loses by it: weights stay what they were.

The kernel compares threads of one session with each other, but sessions as a whole (autogroup, sched(7)): hosts that
share cores belong into one, which is their agent's.
"""

import ctypes
import os
import platform
import struct
import sys
from threading import get_native_id

NICENESS = 10  # where both want a core, an event loop gets ten times as much of it
SHORT_NS = 100_000  # the shortest slice that the kernel grants: several calls of a tiny model

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}  # the system call's number
_ATTR = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period: its first version


def take_short() -> bool:
    """The calling thread runs an event loop. Whether the kernel knows what that means."""
    return _set_slice(SHORT_NS)


def take_long() -> bool:
    """The calling thread, started by one of short turns, has work that takes long."""
    return _set_slice(0)  # the kernel's own


def give_way() -> None:
    """The calling thread runs models."""
    os.setpriority(os.PRIO_PROCESS, get_native_id(), NICENESS)  # on Linux, of a thread
    take_long()


def _set_slice(nanoseconds: int) -> bool:
    number = _SCHED_SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:  # somebody gave us another policy: it stays
        return False
    nice = os.getpriority(os.PRIO_PROCESS, get_native_id())
    attr = _ATTR.pack(_ATTR.size, os.SCHED_OTHER, 0, nice, 0, nanoseconds, 0, 0)
    failed: int = ctypes.CDLL(None).syscall(number, 0, attr, 0)
    return not failed
