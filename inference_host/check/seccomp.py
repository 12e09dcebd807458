"""No sockets but those of the Internet and the kernel's own tables: none that leads to another process on this machine.

A Unix socket with a path lets in whoever its owner's file modes let in, network namespace or not, and Landlock does not
know connections to it: a database that goes by the user's name (`peer`), or a container engine, would obey a template.
The kernel runs this filter at every system call, for this process and whatever it becomes or starts (seccomp(2)).
Connected pairs, which event loops wake themselves with, stay; io_uring, whose operations pass by the filter, does not.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06  # BPF, see linux/bpf_common.h
ALLOW, REFUSE = 0x7FFF_0000, 0x0005_0000 | errno.EACCES
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data, of low words
TYPE_MASK = 0xF  # of a socket's type, without SOCK_CLOEXEC and the like
IO_URING_SETUP = 425
X32 = 0x4000_0000  # numbers from here on are a second set of the same calls

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
PAIRS = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)  # a pair of datagram sockets can still be sent elsewhere


@dataclass(frozen=True, slots=True)
class Machine:
    """AUDIT_ARCH_*, and the numbers of two system calls."""

    architecture: int
    socket: int
    socketpair: int


MACHINES = {"x86_64": Machine(0xC000_003E, 41, 53), "aarch64": Machine(0xC000_00B7, 198, 199)}

Instruction = tuple[int, int, int, int]
"""Code, how far to jump where true and where not, operand."""


class _Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def without_local_sockets() -> str:
    """Returns why not, empty where it is done. Needs no_new_privs; call it before any thread is started."""
    name = os.uname().machine
    if name not in MACHINES:
        return f"the system calls of {name} are not known here"
    code = program(MACHINES[name])
    instructions = (_Instruction * len(code))(*(_Instruction(*each) for each in code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(code), instructions))) == 0:
        return ""
    return f"the kernel refused a filter of system calls: {os.strerror(ctypes.get_errno())}"


def program(machine: Machine) -> Sequence[Instruction]:
    """Steps forward only; each part ends by returning."""
    refuse, allow = (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)
    families = _only(FIRST, (), FAMILIES)
    pairs = _only(SECOND, ((AND, 0, 0, TYPE_MASK),), PAIRS)
    return (
        *((LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, machine.architecture), refuse),
        *((LOAD, 0, 0, NUMBER), (JUMP_AT_LEAST, 0, 1, X32), refuse),
        *((JUMP_EQUAL, 0, 1, IO_URING_SETUP), refuse),
        *((JUMP_EQUAL, 0, len(families), machine.socket), *families),
        *((JUMP_EQUAL, 0, len(pairs), machine.socketpair), *pairs),
        allow,
    )


def _only(argument: int, change: Sequence[Instruction], values: Sequence[int]) -> Sequence[Instruction]:
    """Allows a call where an argument is one of the values, and refuses it where not."""
    left = len(values)
    compared = tuple((JUMP_EQUAL, left - at, 0, int(value)) for at, value in enumerate(values))
    return ((LOAD, 0, 0, argument), *change, *compared, (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW))
