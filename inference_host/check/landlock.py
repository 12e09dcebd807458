"""Landlock (Linux 5.13 and newer): this process, and whatever it becomes or starts, keeps to the files named here.

Rules only grant: what none of them names can neither be read nor written from `keep_to` on, by nobody, for good. They
hold for files and folders, with all that is below, whatever path leads there, a link or `..` among others. Looking at a
file's size and owner stays possible. Of kernels that know less, less is asked (their ABI says what); what that leaves
open stands beside `TRUNCATE_ABI` and `SCOPE_ABI`.

Three system calls without wrappers in C; their numbers are the same on every architecture that we run on. Numbers and
structures: include/uapi/linux/landlock.h; what came with which ABI: Documentation/userspace-api/landlock.rst.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH = 1

TRUNCATE_ABI = 3  # before it, whoever owns a file can empty it by its path
NETWORK_ABI = 4
SCOPE_ABI = 6  # before it, processes of the same user can be killed


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_*, in the order of its bits."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


KNOWN = ((1, Access(0x1FFF)), (2, Access.REFER), (TRUNCATE_ABI, Access.TRUNCATE), (5, Access.IOCTL_DEV))
"""What each ABI has added."""

TCP = 0b11  # to bind, to connect
SCOPES = 0b11  # abstract Unix sockets, signals: of processes outside

OF_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
"""What can be granted for a file; for folders, all can."""

LIST = Access.READ_DIR
"""The names below a folder."""
READ = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
USE = Access.READ_FILE | Access.WRITE_FILE
"""Of a device."""
OWN = (Access(0x1FFF) | Access.REFER | Access.TRUNCATE) & ~(Access.MAKE_CHAR | Access.MAKE_BLOCK)


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be done with a file, or with a folder and all below; nothing where there is none."""

    path: str
    access: Access


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """What the kernel knows of Landlock: 1 and more. Raises OSError where it has none, or has it switched off."""
    return _call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(CREATE_RULESET_VERSION))


def handled(version: int) -> Access:
    """Everything that a kernel of this ABI can refuse, and hence refuses where no rule grants it."""
    access = Access(0)
    for since, added in KNOWN:
        if version >= since:
            access |= added
    return access


def keep_to(rules: Iterable[Rule]) -> int:
    """Confines the thread that calls, for good; returns the ABI. Raises OSError, and then nothing is confined.

    TCP goes altogether, and so do signals to processes outside, where the kernel can refuse them. Needs no_new_privs.
    """
    version = abi()
    ruleset = _create(version)
    try:
        for rule in rules:
            _grant(ruleset, rule, handled(version))
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _create(version: int) -> int:
    """A kernel takes a structure as long as its own or shorter."""
    asked = _Ruleset(handled(version))
    length = _Ruleset.net.offset
    if version >= NETWORK_ABI:
        asked.net, length = TCP, _Ruleset.scoped.offset
    if version >= SCOPE_ABI:
        asked.scoped, length = SCOPES, ctypes.sizeof(asked)
    return _call(CREATE_RULESET, ctypes.byref(asked), ctypes.c_size_t(length), ctypes.c_uint32(0))


def _grant(ruleset: int, rule: Rule, known: Access) -> None:
    try:
        file = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine, or not for us: nobody misses it
        return
    try:
        access = rule.access & known
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            access &= OF_FILES
        granted = _PathBeneath(access, file)
        _call(
            ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(RULE_PATH_BENEATH), ctypes.byref(granted), ctypes.c_uint32(0)
        )
    finally:
        os.close(file)


def _call(number: int, *arguments: object) -> int:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    answer: int = libc.syscall(ctypes.c_long(number), *arguments)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
