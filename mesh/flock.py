"""The lock of a file (flock): taken by one for as long as the file is open, and looked at by anybody.

The kernel has no way to look that sees every lock: /proc/locks leaves out what other containers hold, and names devices
that stat(2) does not tell on some file systems. So who looks takes the lock for a moment, shared with all others who
look. Who takes it for good finds out that it is only looked at, and tries again.
"""

import fcntl
import time

LOOKS_S = 0.5  # a look takes microseconds; longer means that one is stuck, or that far too many look
AGAIN_S = 0.002


def take(descriptor: int) -> bool:
    """Takes the lock of an open file; False where somebody has taken it. Waits, for `LOOKS_S` at most, for looks."""
    end_s = time.monotonic() + LOOKS_S
    while not _try(descriptor, fcntl.LOCK_EX):
        if is_taken(descriptor) or time.monotonic() > end_s:
            return False
        time.sleep(AGAIN_S)
    return True


def is_taken(descriptor: int) -> bool:
    """Whether somebody has taken the lock, by another open file than this one."""
    if not _try(descriptor, fcntl.LOCK_SH):
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
