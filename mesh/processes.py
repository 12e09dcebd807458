"""A child process that outlives its parent and is found again.

Every process has a directory of its own:

    lock      held (flock) by the process from before its first instruction until its end
    pid       written by the process itself before it becomes the program
    exit      its exit code, where a nursery (mesh/nursery.py) started it
    log       stdout and stderr, appended, bounded by `bound_log`
    command   what was started, NUL-separated

The parent takes the lock, hands the open file to the child, and closes its own copy. A lock that is held therefore
means a process that is alive, also one that somebody else started before a crash: adoption is by identity, not by a
pid that may have been given to a stranger since. Two parents cannot start the same process twice, and a parent killed
between any two instructions loses nothing.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.files import private_directory
from mesh.nursery import Nursery, Order
from waypost.errors import Precondition

LOG_BYTES_MAX = 16 << 20  # of one process; twice that with the one kept
ALIVE_POLL_S = 0.02  # while waiting for an end: there is no signal for a child of somebody else
PID_WAIT_S = 5.0  # a child writes its pid within milliseconds; longer means that the machine is stuck

_BECOME = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'


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
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Precondition("ALREADY_RUNNING", f"a process already runs in {self.directory}") from error
            (self.directory / "pid").unlink(missing_ok=True)
            (self.directory / "exit").unlink(missing_ok=True)
            (self.directory / "command").write_bytes("\0".join(argv).encode())
            self.bound_log()
            pid_files = [str(path) for path in (self.directory / "pid", *joins)]
            with open(self.directory / "log", "ab") as log:
                if nursery is not None and nursery.can_start(argv):
                    self._child = None
                    nursery.start(Order(tuple(argv), tuple(pid_files), lock, log.fileno()))
                else:
                    self._child = _Child(
                        ["/bin/sh", "-c", _BECOME, "sh", *pid_files, "--", *argv],
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
        """Whether the process runs, whoever started it."""
        if self._child is not None:
            self._child.poll()  # reaps it
        try:
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(lock)

    def pid(self) -> int | None:
        """Process id while it runs; None before it wrote it down and after its end."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.directory / "pid").read_text())
            return pid if self.alive() else None
        return None

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
        """Sends a signal; False where the process is gone already."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            return True
        return False

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL to its process group after `grace_s` seconds. Returns when it is gone."""
        await self._wait_for_pid()
        self.signal(signal.SIGTERM)
        if await self.ended(within_s=grace_s):
            return
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        await self.ended(within_s=PID_WAIT_S)

    async def ended(self, within_s: float) -> bool:
        """Waits for the end; False where it still runs after `within_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.alive():  # noqa: ASYNC110  nobody signals the end of another's child
                    await asyncio.sleep(ALIVE_POLL_S)
                return True
        return not self.alive()

    async def _wait_for_pid(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PID_WAIT_S):
                while self.alive() and self.pid() is None:  # noqa: ASYNC110  the child tells by a file
                    await asyncio.sleep(ALIVE_POLL_S)

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
