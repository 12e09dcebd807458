"""Mounts of this process's own, all of them read-only but one folder.

Landlock knows nothing of modes, owners, times and extended attributes: whoever owns a file could still lock others out
of it. A read-only mount refuses all of that. Needs the privileges that come with a user namespace, which some
distributions do not give.
"""

import ctypes
import os
from pathlib import Path

CLONE_NEWNS = 0x2_0000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
MOUNT_SETATTR = 442  # since Linux 5.12; the same number everywhere
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY = 0x1


class _MountAttr(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def read_only_but(folder: Path) -> str:
    """Returns why not, empty where it is done. Call it before any thread is started, and before Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    path = os.fsencode(folder)
    steps = (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None),
        lambda: libc.mount(path, path, None, ctypes.c_ulong(MS_BIND), None),
        lambda: _set(libc, b"/", AT_RECURSIVE, _MountAttr(attr_set=MOUNT_ATTR_RDONLY)),
        lambda: _set(libc, path, 0, _MountAttr(attr_clr=MOUNT_ATTR_RDONLY)),
    )
    for step in steps:
        if step() != 0:
            return f"the kernel refused read-only mounts: {os.strerror(ctypes.get_errno())}"
    return ""


def _set(libc: ctypes.CDLL, path: bytes, flags: int, wanted: _MountAttr) -> int:
    answer: int = libc.syscall(
        *(ctypes.c_long(MOUNT_SETATTR), ctypes.c_int(AT_FDCWD), path),
        *(ctypes.c_uint(flags), ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted))),
    )
    return answer
