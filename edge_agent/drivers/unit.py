"""One process of ours and its directory: a replica's or a monitor's.

Besides what `mesh.processes.Process` keeps there:

    unit.json        what this is: version, variant, how often and when it was started
    settings.toml    what it was started with
    failure.json     why it ended, written by itself
    draining         it was asked to end: until when it may take, in Unix seconds

Everything is written before it is acted upon, so an agent killed between any two lines finds its way by the directory.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from edge_agent.drivers.base import Observed
from edge_agent.failure import Failure
from edge_agent.machine.storage import storage_errors
from edge_agent.model_version import NO_VERSION, Version
from mesh import clock
from mesh.files import private_directory, write_atomically
from mesh.plain_text import is_reason, plain
from mesh.processes import Process
from mesh.signals import signal_name
from waypost.errors import MeshError

log = structlog.get_logger()

PID_POLL_S = 0.02  # until a process that was just started has written its pid
END_POLL_S = 0.2  # where the kernel has no pidfd
NOTE_BYTES_MAX = 64 << 10  # of failure.json: anything larger was not written by our host
TEXT_CHARACTERS_MAX = 4096  # of each text in it: every report repeats them
KILL_AGAIN_S = 1.0  # SIGKILL cannot be refused; what is still there is waiting for a disk


@dataclass(frozen=True, slots=True)
class About:
    """unit.json."""

    id: str
    version: Version = NO_VERSION
    variant: str = ""
    address: str = ""
    """Of a host's socket."""
    starts: int = 0
    started_s: float = 0.0


class Unit:
    """Call its methods inside a running event loop; none of them waits."""

    def __init__(self, directory: Path, changed: Callable[[], None]) -> None:
        """Adopts what is there. `changed` is called when the process has ended."""
        self._process = Process(directory)
        self._changed = changed
        self._failure: Failure | None = None
        self._pid = 0
        """Of the process that runs; 0 until it has written it down."""
        self._draining_until_s = self._read_draining_until_s()
        self._watching: int | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._unsent: set[int] = set()
        """Signals that wait for its pid."""
        self.about = self._read_about()
        self.running = self._process.alive()
        """As told by the kernel; a moment behind, so that an exit code is there when this turns False."""
        if self.running:
            self._watch()
            self._resume_draining()
        else:
            self._note_end()

    @property
    def directory(self) -> Path:
        return self._process.directory

    @property
    def draining(self) -> bool:
        return self._draining_until_s is not None

    def start(self, about: About, settings: str, spawn: Callable[[Process], None]) -> None:
        """Starts the process once more, by `spawn`; `about` is completed. A start that fails is observed as ended.

        Raises: Exhausted(DISK_FULL), Unavailable(STORAGE_FAILED).
        """
        self.about = replace(about, starts=self.about.starts + 1, started_s=clock.now())
        with storage_errors(self.directory):
            private_directory(self.directory)
            (self.directory / "failure.json").unlink(missing_ok=True)
            self._remove_socket()
            write_atomically(self.directory / "settings.toml", settings.encode())
            write_atomically(self.directory / "unit.json", json.dumps(asdict(self.about)).encode())
        self._failure, self._pid = None, 0
        try:
            spawn(self._process)
        except (OSError, MeshError) as error:
            message = f"{self.about.id} cannot be started: {error}"
            self._failure = Failure("SPAWN_FAILED", message, "look at the agent's log")
            return
        self.running = True
        self._watch()

    def drain(self, grace_s: float) -> None:
        """Asks the process to end; after the grace it is killed. Nothing where that is under way already."""
        if self.draining:
            return
        until_s = clock.now() + grace_s
        with storage_errors(self.directory):
            write_atomically(self.directory / "draining", str(until_s).encode())
        self._draining_until_s = until_s
        self._send(signal.SIGTERM)
        self._later(grace_s, self._kill)

    def kill(self, why: Failure) -> None:
        """Ends the process, and its children, at once."""
        self._failure = why
        self._send(signal.SIGKILL)

    def observe(self) -> Observed:
        running = self.running
        return Observed(
            id=self.about.id,
            running=running,
            draining=self.draining,
            version=self.about.version,
            variant=self.about.variant,
            starts=self.about.starts,
            started_s=self.about.started_s,
            pid=self._pid if running else 0,
            address=self.about.address,
            failure=None if running else self._failure,
        )

    def tail(self, lines: int) -> str:
        return self._process.tail(lines)

    def bound_log(self) -> None:
        self._process.bound_log()

    def remove(self) -> None:
        """Its directory and sockets are gone afterwards; it must have ended."""
        self.close()
        self._remove_socket()
        shutil.rmtree(self.directory, ignore_errors=True)

    def close(self) -> None:
        """Lets go of the process, which goes on."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._unsent.clear()
        self._stop_watching()

    # -- its end

    def _watch(self) -> None:
        """Has `_on_end` called when the process ends, whoever started it: a pidfd becomes readable then."""
        pid = self._process.pid()
        self._pid = pid or 0
        if pid is None:
            self._process.end_rest()
            self._later(PID_POLL_S, self._watch if self._process.alive() else self._on_end)
            return
        try:
            self._watching = os.pidfd_open(pid)
        except ProcessLookupError:
            self._later(PID_POLL_S, self._on_end)
        except (OSError, AttributeError):
            self._later(END_POLL_S, self._watch)
        else:
            asyncio.get_running_loop().add_reader(self._watching, self._on_end)
            if self._process.pid() != pid:  # it ended in between: the pid may be a stranger's by now
                self._stop_watching()
                self._later(PID_POLL_S, self._on_end)

    def _on_end(self) -> None:
        self._stop_watching()
        if self._process.alive():  # the lock is a moment behind, or children of it hold it
            self._later(PID_POLL_S, self._watch)
            return
        self.close()
        self.running = False
        self._note_end()
        self._changed()

    def _stop_watching(self) -> None:
        if self._watching is not None:
            asyncio.get_running_loop().remove_reader(self._watching)
            os.close(self._watching)
            self._watching = None

    def _note_end(self) -> None:
        self._failure = self._read_failure() or self._failure or self._exit_failure()

    # -- signals

    def _send(self, number: int) -> None:
        """Once its pid is known; asked for again meanwhile, it is sent once."""
        if number not in self._unsent:
            self._try_to_send(number)

    def _try_to_send(self, number: int) -> None:
        self._unsent.discard(number)
        sent = self._process.kill() if number == signal.SIGKILL else self._process.signal(number)
        if not sent and self.running:
            self._unsent.add(number)
            self._later(PID_POLL_S, lambda: self._try_to_send(number))

    def _kill(self) -> None:
        """The whole group of the process: it may have had children."""
        if self._process.kill():
            log.warning("grace_over", id=self.about.id, pid=self._pid)
        if self.running:
            self._later(KILL_AGAIN_S, self._kill)

    def _resume_draining(self) -> None:
        """After a restart of the agent. A second SIGTERM would make the process give up what is in flight."""
        if (until_s := self._draining_until_s) is not None:
            self._later(max(0.0, until_s - clock.now()), self._kill)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            call()

        timer = asyncio.get_running_loop().call_later(delay_s, run)
        self._timers.add(timer)

    # -- its files

    def _read_draining_until_s(self) -> float | None:
        try:
            return float((self.directory / "draining").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            return 0.0  # it is marked, and the time is lost: over

    def _read_about(self) -> About:
        try:
            page = json.loads((self.directory / "unit.json").read_bytes())
            return About(**{**page, "version": Version(**page["version"])})
        except (OSError, ValueError, KeyError, TypeError):
            return About(self.directory.name)

    def _remove_socket(self) -> None:
        if self.about.address.startswith("unix:"):
            Path(self.about.address.removeprefix("unix:")).unlink(missing_ok=True)

    def _read_failure(self) -> Failure | None:
        """What the process has said itself, in words that may be its template's; None where that makes no sense."""
        try:
            with open(self.directory / "failure.json", "rb") as file:
                page: Any = json.loads(file.read(NOTE_BYTES_MAX))
            reason, message, hint = str(page["reason"]), str(page["message"]), str(page.get("hint", ""))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        if not is_reason(reason):
            return None
        return Failure(reason, plain(message, TEXT_CHARACTERS_MAX), plain(hint, TEXT_CHARACTERS_MAX))

    def _exit_failure(self) -> Failure | None:
        """From what the kernel says, which it says to parents only."""
        if not self.about.starts:
            return None
        code = self._process.exit_code()
        hint = "read what it logged last: waypost logs POSITION"
        if code is None:
            return Failure("ENDED", "its process ended by itself", hint)
        if code == -signal.SIGKILL:
            return Failure("KILLED", "its process was killed", f"was it short of memory? {hint}")
        if code < 0:
            return Failure("CRASHED", f"its process was ended by {signal_name(-code)}", hint)
        return Failure("CRASHED", f"its process ended with exit code {code}", hint)
