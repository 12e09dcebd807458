"""A child process that outlives its parent and is found again.

Every process has a directory of its own:

    lock      held (flock) by the process from before its first instruction until its end
    pid       written by the process itself before it becomes the program
    stat      likewise, before its pid: what the kernel says of it, and thereby when it was started
    exit      its exit code, where a nursery (mesh/nursery.py) started it
    log       stdout and stderr, appended, bounded by `bound_log`
    command   what was started, NUL-separated

The parent takes the lock, hands the open file to the child, and closes its own copy. A lock that is held therefore
means a process that is alive, also one that somebody else started before a crash: adoption is by identity, not by a
pid that may have been given to a stranger since. Two parents cannot start the same process twice, and a parent killed
between any two instructions loses nothing.

What the process forks inherits the lock. Where the process itself has died, by its pid and the time of its start, such
children are neither it nor of use to anybody: whoever waits for its end kills its group, once it has seen that a member
holds the lock. So no signal reaches a stranger: one process is signalled by a pidfd that was opened before it was
recognised, a group while its leader or a holder of the lock is in it, for then its id is given to nobody. A child that
has left the group cannot always be told from a stranger: it is left alone, and taken for the process while it lives.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mesh import flock, pids
from mesh.files import private_directory
from mesh.nursery import Nursery, Order
from waypost.errors import Precondition

LOG_BYTES_MAX = 16 << 20  # of one process; twice that with the one kept
ALIVE_POLL_S = 0.02  # while waiting for an end: there is no signal for a child of somebody else
PID_WAIT_S = 5.0  # a child writes its pid within milliseconds; longer means that the machine is stuck

_BECOME = (
    'read -r stat < /proc/$$/stat && echo "$stat" > "$1" || exit 125; shift; '
    'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'
)


class _Child(subprocess.Popen[bytes]):
    """A child that may go on when nobody holds this object any more."""

    def __del__(self) -> None:
        """The library's own warns of every child that still runs; here that is what is meant to be."""


class Process:
    """One child process, running or not. Methods never block for long.

    This object may be dropped at any time; another one for the same directory finds the process again.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._child: _Child | None = None

    def spawn(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        beside_us: bool = False,
        joins: Sequence[Path] = (),
        nursery: Nursery | None = None,
    ) -> None:
        """Starts the program. Raises: Precondition(ALREADY_RUNNING); OSError where it cannot be started.

        beside_us: in our session, where the kernel weighs its threads against those of its siblings, one by one, and
        not one session against the other (autogroup, sched(7)). Either way it has a process group of its own.
        joins: `cgroup.procs` of the groups that it joins before its first instruction.
        nursery: starts it, beside us and with an environment of its own, where it can.
        """
        private_directory(self.directory)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not flock.take(lock):
                raise Precondition("ALREADY_RUNNING", f"a process already runs in {self.directory}")
            for name in ("pid", "stat", "exit"):
                (self.directory / name).unlink(missing_ok=True)
            (self.directory / "command").write_bytes("\0".join(argv).encode())
            self.bound_log()
            pid_files = [str(path) for path in (self.directory / "pid", *joins)]
            with open(self.directory / "log", "ab") as log:
                if nursery is not None and nursery.can_start(argv):
                    self._child = None
                    nursery.start(Order(tuple(argv), tuple(pid_files), lock, log.fileno()))
                else:
                    self._child = _Child(
                        ["/bin/sh", "-c", _BECOME, "sh", str(self.directory / "stat"), *pid_files, "--", *argv],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=None if env is None else dict(env),
                        pass_fds=(lock,),
                        start_new_session=not beside_us,
                        process_group=0 if beside_us else None,
                    )
        finally:
            os.close(lock)

    def alive(self) -> bool:
        """Whether the process runs, whoever started it, or what it has left behind."""
        if self._child is not None:
            self._child.poll()  # reaps it
        try:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return flock.is_taken(lock)
        finally:
            os.close(lock)

    def pid(self) -> int | None:
        """Process id while it runs; None before it wrote it down and after its end."""
        pid = self._written_pid()
        return pid if pid is not None and self.alive() and self._runs(pid) else None

    def command(self) -> list[str]:
        """What was last started here; empty where nothing ever was."""
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "command").read_bytes().decode().split("\0")
        return []

    def exit_code(self) -> int | None:
        """Of an ended child that this very process started, or its nursery; None otherwise."""
        if self._child is not None:
            return self._child.poll()
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "exit").read_text())
        return None

    def signal(self, number: int) -> bool:
        """Sends a signal to the process alone; False where it has not written its pid, or is gone already."""
        pid = self._written_pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError), _opened(pid) as descriptor:
            if self.pid() == pid:  # asked after it was opened, or it may be another one's by now
                if descriptor is None:
                    os.kill(pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
                return True
        return False

    def kill(self) -> bool:
        """SIGKILL to the process and all of its group; False where it has not written its pid, or is gone already."""
        pid = self.pid()
        if pid is None:
            return self.end_rest()
        seen = pids.look(pid)
        if seen is not None and seen.group == pid:
            return _kill_group(pid)
        return self.signal(signal.SIGKILL)

    def end_rest(self) -> bool:
        """Where the process has ended and children of it hold its lock: kills its group. False where there are none."""
        pid = self._written_pid()
        return pid is not None and self.alive() and not self._runs(pid) and self._left(pid) and _kill_group(pid)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to its process group after `grace_s` seconds. Returns when it is gone."""
        await self._wait_for_pid()
        self.signal(signal.SIGTERM)
        if not await self.ended(within_s=grace_s):
            self.kill()
            await self.ended(within_s=PID_WAIT_S)

    async def ended(self, within_s: float) -> bool:
        """Waits for the end, and ends what it has left; False where it still runs after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.alive():  # nobody signals the end of another's child
                    await asyncio.sleep(ALIVE_POLL_S)
                    self.end_rest()
                return True
        return not self.alive()

    async def _wait_for_pid(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PID_WAIT_S):
                while self.alive() and self._written_pid() is None:  # noqa: ASYNC110  the child tells by a file
                    await asyncio.sleep(ALIVE_POLL_S)

    def _written_pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / "pid").read_text())
        return None

    def _runs(self, pid: int) -> bool:
        """Whether the process with this id is the one that wrote it down."""
        seen = pids.look(pid)
        if seen is None or seen.ended:
            return False
        with contextlib.suppress(OSError, ValueError):
            wrote = pids.parse((self.directory / "stat").read_text())
            return wrote.pid != pid or wrote.started == seen.started
        return True  # as by a version of ours that wrote no such file: by the lock alone

    def _left(self, pid: int) -> bool:
        """Whether this group is the one that the dead process has led."""
        lock = self.directory / "lock"
        return any(pids.holds(member.pid, lock) for member in pids.members(pid))

    def tail(self, lines: int) -> str:
        """The last lines that it wrote, at most 256 KiB of them."""
        try:
            with open(self.directory / "log", "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - (256 << 10)))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def bound_log(self) -> None:
        """Keeps the log bounded: moves what it holds to `log.1` and empties it in place, as the child appends.

        Never raises. Where the disk has no room for both, what the log holds is lost: the child writes on, and its
        words must not be what keeps everything else from being written.
        """
        log, kept = self.directory / "log", self.directory / "log.1"
        with contextlib.suppress(OSError):
            if log.stat().st_size > LOG_BYTES_MAX:
                try:
                    shutil.copyfile(log, kept)
                except OSError:
                    with contextlib.suppress(OSError):
                        kept.unlink()
                os.truncate(log, 0)


def _kill_group(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


@contextlib.contextmanager
def _opened(pid: int) -> Iterator[int | None]:
    """A pidfd; None where the kernel has none. Raises: ProcessLookupError."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
