"""One `up` per data directory: who is in charge of it, and since when."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from console.local.components import SUPERVISOR, Layout
from mesh import text
from mesh.files import private_directory
from waypost.errors import AlreadyExists

PID_BYTES_MAX = 32


@dataclass(frozen=True, slots=True)
class Holder:
    """A running `up`, in the foreground or detached."""

    pid: int
    since: float
    """Wall clock."""
    detached: bool


def holder(layout: Layout) -> Holder | None:
    """Who is in charge now; None where nobody is."""
    return _foreground(layout) or _detached(layout)


@contextmanager
def alone(layout: Layout, now: float) -> Iterator[None]:
    """Takes charge, until the end of the block. Raises: AlreadyExists(ALREADY_UP) that names who is in charge."""
    private_directory(layout.data_dir)
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _refusal(layout, _foreground(layout), now) from error
        if layout.process(SUPERVISOR).alive():
            raise _refusal(layout, _detached(layout), now)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _foreground(layout: Layout) -> Holder | None:
    """The `up` that holds the lock."""
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        written = os.pread(descriptor, PID_BYTES_MAX, 0).strip()
        return _holder(int(written), detached=False) if written.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)


def _detached(layout: Layout) -> Holder | None:
    """The supervisor that a detached `up` left behind."""
    pid = layout.process(SUPERVISOR).pid()
    return None if pid is None else _holder(pid, detached=True)


def _holder(pid: int, *, detached: bool) -> Holder | None:
    import psutil

    try:
        return Holder(pid, psutil.Process(pid).create_time(), detached)
    except psutil.Error:
        return None  # it ended just now


def _refusal(layout: Layout, found: Holder | None, now: float) -> AlreadyExists:
    where = layout.data_dir
    by = f" (pid {found.pid}, since {text.age(now - found.since)})" if found else ""
    return AlreadyExists(
        "ALREADY_UP",
        f"a platform runs in {where} already{by}",
        f"`waypost status` shows it; `waypost down --data-dir {where}` stops it; another one needs a --data-dir and "
        "--port-base of its own",
    )
