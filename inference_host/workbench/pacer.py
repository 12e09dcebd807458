"""Wakes at a time. asyncio's own timers are as coarse as epoll's, a millisecond: more than many models take.

A timerfd (timerfd_create(2)) is as exact as the kernel's clock, and costs nothing while it waits.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Self

CLOCK_MONOTONIC = 1
TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME = 0o4000, 0o2000000, 1


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Pacer:
    """Calls `wake` in the event loop when the time has come. Use it in a `with` block."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Raises: OSError."""
        self._wake = wake
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def at(self, when: float) -> None:
        """when: `time.monotonic()`'s seconds; what is past is now. The last word counts."""
        seconds, rest = divmod(max(1, round(when * 1e9)), 10**9)
        timing = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, rest))
        self._libc.timerfd_settime(self._timer, TFD_TIMER_ABSTIME, ctypes.byref(timing), None)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._timer, self._expired)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._timer)
        os.close(self._timer)

    def _expired(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:  # it was set anew meanwhile
            return
        self._wake()
