"""Shuts this process in before it touches a package that nobody has vouched for.

    network       new user and network namespaces: no interface but a loopback that is down
    files         Landlock: what an interpreter needs and the package can be read, one scratch folder written, and
                  nothing else (readable); besides, mounts of its own, read-only all but that folder (mounts), and
                  no sockets that lead to other processes of this machine (seccomp)
    limits        memory, CPU time, open files, size of written files, processes
    environment   a handful of variables by name; the rest, credentials among it, is gone

Everything is inherited through exec, so the process confines itself and becomes a fresh interpreter: nothing of the old
environment is left in its memory, and the privileges that come with a new user namespace end with the exec. What the
kernel does not allow is told, never hidden: the result names it, and who has asked decides whether that is enough.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from inference_host.check import landlock, mounts, readable, seccomp

CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

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
"""Stands before the last two arguments of what was begun by `enter`, those of `Open`."""


@dataclass(frozen=True, slots=True)
class Open:
    """What the kernel has not closed, in words; empty: it is closed."""

    network: str
    files: str


def enter(module: str, *arguments: str, package: Path, scratch: Path, sockets: bool = False) -> NoReturn:
    """Confines this process, and becomes `python -m module ARGUMENTS --confined WHY_NETWORK WHY_FILES`.

    Does not return. package: can be read. scratch: an empty folder, which can be written; whoever has made it removes
    it. Both absolute. sockets: Unix sockets stay, for one that serves there itself.
    """
    why_network = without_network()
    without_new_privileges()
    limit()
    environment = clean_environment(scratch)
    why_files = without_files(package, scratch) or ("" if sockets else seccomp.without_local_sockets())
    end_with_parent()
    # -P: what lies in the working directory is not ours to import
    command = [sys.executable, "-P", "-m", module, *arguments, CONFINED, why_network, why_files]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def told(is_open: Open) -> dict[str, object]:
    """What there is of a confinement, for a verdict."""
    return {
        "network": not is_open.network,
        "network_reason": is_open.network,
        "files": not is_open.files,
        "files_reason": is_open.files,
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


def without_files(package: Path, scratch: Path) -> str:
    """Leaves the package to read and the scratch folder to write; returns why more than that is open, or empty.

    Call it before any thread is started, and after `without_new_privileges`.
    """
    why_mounts = mounts.read_only_but(scratch)
    needed = list(readable.for_interpreter(sys.path if sys.flags.safe_path else sys.path[1:]))
    place = package if package.is_dir() else package.parent  # a graph's weights may lie beside it
    own = (landlock.Rule(str(place), landlock.READ), landlock.Rule(str(scratch), landlock.OWN))
    try:
        abi = landlock.keep_to([*needed, *own])
    except OSError as error:
        return f"the kernel refused Landlock: {error.strerror}"
    if abi < landlock.TRUNCATE_ABI and why_mounts:
        return f"Landlock of this kernel (ABI {abi}) keeps nobody from emptying files, and {why_mounts}"
    if around := _around(scratch.parent, needed):
        return f"{scratch.parent} lies in {around}, which every interpreter here needs to read"
    return ""


def _around(folder: Path, rules: Iterable[landlock.Rule]) -> str:
    """What can be read and holds the folder that is not to be seen; empty where nothing does."""
    hidden = folder.resolve()
    read = (rule.path for rule in rules if rule.access & landlock.Access.READ_FILE)
    return next((path for path in read if hidden.is_relative_to(os.path.realpath(path))), "")


def without_new_privileges() -> None:
    """No setuid program gives any back."""
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Nothing is left to run where whoever waits for it was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def limit() -> None:
    """Sets the limits, none above what there was."""
    _lower(resource.RLIMIT_AS, MEMORY_BYTES)
    _lower(resource.RLIMIT_CPU, CPU_S)
    _lower(resource.RLIMIT_NOFILE, FILES)
    _lower(resource.RLIMIT_FSIZE, WRITTEN_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NPROC, sum(_tasks_of(os.getuid())) + PROCESSES_MORE)


def clean_environment(scratch: Path) -> dict[str, str]:
    """What the package may see of the environment."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "HOME": "/nonexistent",
        "TMPDIR": str(scratch),
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # an exception's text may be none that can be written
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
