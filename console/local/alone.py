"""One `up` per data directory: who is in charge of it, and since when."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from console.local.components import SUPERVISOR, Layout
from mesh import locks, text
from mesh.files import private_directory
from waypost.errors import AlreadyExists


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
    with locks.held(layout.lock, lambda pid: _refusal(layout, _holder(pid, detached=False), now)):
        if layout.process(SUPERVISOR).alive():
            raise _refusal(layout, _detached(layout), now)
        yield


def _foreground(layout: Layout) -> Holder | None:
    """The `up` that holds the lock."""
    return _holder(locks.holder(layout.lock), detached=False)


def _detached(layout: Layout) -> Holder | None:
    """The supervisor that a detached `up` left behind."""
    return _holder(layout.process(SUPERVISOR).pid(), detached=True)


def _holder(pid: int | None, *, detached: bool) -> Holder | None:
    import psutil

    if pid is None:
        return None
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
