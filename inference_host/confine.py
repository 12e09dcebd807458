"""Shuts this process in before it touches a package that nobody has vouched for.

    network       new user and network namespaces: no interface but a loopback that is down
    limits        memory, CPU time, open files, size of written files, processes
    environment   a handful of variables by name; the rest, credentials among it, is gone

Everything is inherited through exec, so the process confines itself and becomes a fresh interpreter: nothing of the old
environment is left in its memory, and the privileges that come with a new user namespace end with the exec. What the
kernel does not allow is told, never hidden: the result names it.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
PR_SET_NO_NEW_PRIVS = 38

KEPT = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "PYTHONPATH",
    "PYTHONPYCACHEPREFIX",
    "PYTHONDONTWRITEBYTECODE",
    "LD_LIBRARY_PATH",
)
MEMORY_BYTES = 8 << 30  # address space, of which onnxruntime reserves far more than it uses
CPU_S = 120  # loading and a few runs; the caller has a wall clock of its own
FILES = 256
WRITTEN_BYTES = 16 << 20  # what a template may need for a cache; the result goes to a pipe
PROCESSES_MORE = 64  # than the user runs already: threads count too


CONFINED = "--confined"
"""Stands before the last argument of what was begun by `enter`: why there is a network, empty where there is none."""


def enter(module: str, *arguments: str) -> NoReturn:
    """Confines this process, and becomes `python -m module ARGUMENTS --confined WHY_NETWORK`. Does not return."""
    why_network = without_network()
    without_new_privileges()
    limit()
    # -P: what lies in the working directory is not ours to import
    command = [sys.executable, "-P", "-m", module, *arguments, CONFINED, why_network]
    sys.stdout.flush()
    os.execve(sys.executable, command, clean_environment())


def told(why_network: str) -> dict[str, object]:
    """What there is of a confinement, for a verdict. why_network: as `enter` has passed it on."""
    return {
        "network": not why_network,
        "network_reason": why_network,
        "memory_bytes": MEMORY_BYTES,
        "cpu_s": CPU_S,
    }


def without_network() -> str:
    """Leaves the network for good; returns why not, empty where it is done. Call it before any thread is started."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0:
        return ""
    refused = os.strerror(ctypes.get_errno())
    if libc.unshare(CLONE_NEWNET) == 0:  # root may do so where user namespaces are switched off
        return ""
    return f"the kernel refused a network namespace: {refused}"


def without_new_privileges() -> None:
    """No setuid program gives any back."""
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def limit() -> None:
    """Sets the limits, none above what there was."""
    _lower(resource.RLIMIT_AS, MEMORY_BYTES)
    _lower(resource.RLIMIT_CPU, CPU_S)
    _lower(resource.RLIMIT_NOFILE, FILES)
    _lower(resource.RLIMIT_FSIZE, WRITTEN_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NPROC, sum(_tasks_of(os.getuid())) + PROCESSES_MORE)


def clean_environment() -> dict[str, str]:
    """What the package may see of the environment."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "HOME": "/nonexistent",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _tasks_of(uid: int) -> Iterator[int]:
    """Threads of each process of a user: the limit counts all of them."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if process.stat().st_uid == uid:
                    yield len(os.listdir(process / "task"))
            except OSError:  # it ended meanwhile
                continue
