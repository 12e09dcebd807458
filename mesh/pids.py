"""Process ids, which the kernel gives to somebody else once their process has ended.

An id and the time of the start name one process for ever. The id of a group is given to nobody as long as the group
has members, whether its leader lives or not.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FIELDS_MIN = 20  # of a page after the name: as many as are read here


@dataclass(frozen=True, slots=True)
class Stat:
    """What the kernel says of a process, see proc_pid_stat(5)."""

    pid: int
    state: str
    group: int
    threads: int
    started: int
    """Clock ticks from the start of the machine."""

    @property
    def ended(self) -> bool:
        """Also where its parent has not heard of it; one whose first thread alone has ended runs."""
        return self.state in "ZX" and self.threads <= 1


def parse(text: str) -> Stat:
    """A page of /proc/PID/stat. Raises: ValueError."""
    head, _, tail = text.rpartition(")")  # the name before it may hold anything
    fields = tail.split()
    if len(fields) < FIELDS_MIN:
        raise ValueError(f"no page of /proc/PID/stat: {text!r}")
    return Stat(int(head.partition(" ")[0]), fields[0], int(fields[2]), int(fields[17]), int(fields[19]))


def look(pid: int) -> Stat | None:
    """None where no process has this id."""
    try:
        return parse(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError):
        return None


def members(group: int) -> Iterator[Stat]:
    """Of a process group, those that run."""
    for name in os.listdir("/proc"):
        if name.isdigit() and (seen := look(int(name))) and seen.group == group and not seen.ended:
            yield seen


def holds(pid: int, lock: Path) -> bool:
    """Whether the process has a file open that holds the flock of `lock`; False where we may not look.

    Whoever only has it open, to see whether it is held, holds it shared or not at all.
    """
    with contextlib.suppress(OSError):
        wanted = lock.stat()
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # it was closed meanwhile
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if os.path.samestat(found, wanted) and _is_exclusive(Path(f"/proc/{pid}/fdinfo/{name}").read_text()):
                    return True
    return False


def _is_exclusive(page: str) -> bool:
    """Of /proc/PID/fdinfo/FD, which tells the locks of this open file and of no other."""
    return any({"FLOCK", "WRITE"} <= set(line.split()) for line in page.splitlines() if line.startswith("lock:"))
