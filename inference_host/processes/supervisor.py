"""A host of several processes: this one has no model and takes no call, it keeps the others.

    supervisor ── fork ──▶ worker 0 (the speaker: link 3) · worker 1 · ...      all at one address

Python runs one thing at a time, so a host that is to use more cores needs more processes. They are forked from this one
after its imports, before there is an event loop, a thread or a session, and share the memory of what was imported. At a
port each listens for itself and the kernel deals out new connections (SO_REUSEPORT); a Unix socket knows no such thing,
so all take connections from the same one. Either way a connection stays where it was taken: a caller with one
connection uses one process.

At first nobody listens until all have loaded, so the host is ready as a whole or not at all. What ends before that ends
the host, with its exit code and its note. Later a process that dies is started anew, with a pause when that happens
often, and listens when it has loaded; the others serve meanwhile. When none is left, the host ends: its agent, or
whoever started it, knows about pauses too.

The monitor sees one replica: one process has the link and adds up the counts of all. When it dies, another one dials.
This process reads signals and small messages, one at a time; it waits for nothing else, and holds no locks that a
forked child could inherit taken.
"""

import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import structlog

from inference_host.processes.worker import MESSAGE_BYTES_MAX, Kind, Listener, Worker
from inference_host.transport import server
from mesh.restarts import Ends
from mesh.signals import signal_name
from waypost.errors import Internal, MeshError

log = structlog.get_logger()

KILL_AFTER_S = 5.0  # beyond the grace, for processes that ignore SIGTERM
SIGNALS_MAX = 4096  # read at once; they coalesce anyway

_TO_END = frozenset({signal.SIGTERM, signal.SIGINT})
_SIGNALS = _TO_END | {signal.SIGCHLD}

Main = Callable[[Worker], int]
"""What a worker does from its fork to its end; returns its exit code."""


@dataclass
class _Child:
    """A worker, seen from outside."""

    index: int
    ends: Ends = field(default_factory=Ends)
    pid: int = 0
    """0: it is dead."""
    control: socket.socket | None = None
    loaded: bool = False
    ready: bool = False
    due_s: float = 0.0
    """When to start it, while it is dead."""

    def tell(self, kind: Kind, body: bytes = b"") -> None:
        if self.control is not None:
            with suppress(OSError):  # it is dying, which SIGCHLD tells as well; or has not read hundreds of messages
                self.control.send(bytes([kind]) + body)


class Supervisor:
    """Keeps `processes` workers alive that each run `main`."""

    def __init__(self, processes: int, addresses: Sequence[str], grace_s: float, main: Main) -> None:
        """Raises: Precondition where an address cannot be had."""
        held = [_hold(address) for address in addresses]
        self._listeners = tuple(listener for listener, _ in held)
        self._held = [taker for _, taker in held]
        self._grace_s = grace_s
        self._main = main
        self._children = [_Child(index) for index in range(processes)]
        self._speaker = self._children[0]
        self._orders = b""
        self._served = False
        """All were ready once."""
        self._ending_s: float | None = None
        """Since when it is to end."""
        self._code = 0
        self.failure: MeshError | None = None
        """Why it ended, where that is known here only."""
        self._selector = selectors.DefaultSelector()
        self._signals = _Signals(self._selector)

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until none is left; returns the exit code."""
        gc.freeze()  # what is shared stays shared: the collector would write into each object
        while any(child.pid for child in self._children) or self._is_to_go_on():
            self._start_due()
            for key, _ in self._selector.select(self._patience_s()):
                self._on_event(key.data)
            self._reap()
            self._kill_late()
        self._leave()
        return self._code

    # -- lives

    def _start(self, child: _Child) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the child answers to them itself
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become(child, theirs)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        ours.setblocking(False)
        child.pid, child.control, child.loaded, child.ready = pid, ours, False, False
        self._selector.register(ours, selectors.EVENT_READ, child)
        if child is self._speaker:
            child.tell(Kind.SPEAK)
        if self._orders:
            child.tell(Kind.ORDERS, self._orders)

    def _become(self, child: _Child, control: socket.socket) -> NoReturn:
        """The forked process: everything of the supervisor's is let go of."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is the supervisor's to hear, and to pass on once
            self._signals.close()
            self._selector.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for other in self._children:
                if other.control is not None:
                    other.control.close()
            control.setblocking(False)
            code = self._main(Worker(child.index, len(self._children), control, self._listeners))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # not up the stack, which is the supervisor's

    def _reap(self) -> None:
        for child in self._children:
            if child.pid and (found := os.waitpid(child.pid, os.WNOHANG))[0]:
                self._ended(child, os.waitstatus_to_exitcode(found[1]))

    def _ended(self, child: _Child, code: int) -> None:
        self._hear_last_words(child)
        assert child.control is not None
        self._selector.unregister(child.control)
        child.control.close()
        child.pid, child.control, child.ready = 0, None, False
        if self._ending_s is not None:
            self._code = self._code or max(code, 0)
            self._tell_if_alone()
            return
        now = time.monotonic()
        child.ends = child.ends.another(now)
        child.due_s = now + child.ends.pause_s
        log.error("process_ended", process=child.index, code=code, again_in_s=round(child.ends.pause_s, 1))
        if not self._served or not any(other.ready for other in self._children):
            self._give_up(child, code)
        elif child is self._speaker:
            self._speaker = next(other for other in self._children if other.ready)
            self._speaker.tell(Kind.SPEAK)

    def _give_up(self, child: _Child, code: int) -> None:
        """A host that never served, or of which nothing is left."""
        self._code = code if code > 0 else 1
        if code < 0 or self._served:
            what = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with code {code}"
            when = "as the last one that served" if self._served else "before it could serve"
            self.failure = Internal("PROCESS_ENDED", f"process {child.index} {what}, {when}", "see the host's log")
        self._end()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and self._is_to_go_on() and now >= child.due_s:
                self._start(child)

    # -- what is heard

    def _on_event(self, source: object) -> None:
        if isinstance(source, _Child):
            self._hear(source)
        elif self._signals.asked_to_end():
            if self._ending_s is None:
                self._end()
            else:
                self._signal_all(signal.SIGTERM)  # the second one ends at once

    def _hear(self, child: _Child) -> bool:
        """One message. Returns whether there was one."""
        assert child.control is not None
        try:
            message = child.control.recv(MESSAGE_BYTES_MAX)
        except (BlockingIOError, ConnectionResetError):
            return False
        if not message:
            return False
        match message[0]:
            case Kind.LOADED:
                child.loaded = True
                self._let_listen(child)
            case Kind.READY:
                child.ready = True
                self._let_listen(child)
            case Kind.COUNTS:
                self._speaker.tell(Kind.COUNTS, bytes([child.index]) + message[1:])
            case Kind.ORDERS:
                self._orders = message[1:]
                for other in self._children:
                    if other is not child:
                        other.tell(Kind.ORDERS, self._orders)
        return True

    def _hear_last_words(self, child: _Child) -> None:
        while self._hear(child):
            pass

    def _let_listen(self, child: _Child) -> None:
        """All but the speaker when all have loaded, then the speaker, so that its word is true for all."""
        if self._served:
            child.tell(Kind.GO)
            return
        if not all(each.loaded for each in self._children):
            return
        others = [each for each in self._children if each is not self._speaker]
        if all(each.ready for each in others):
            self._speaker.tell(Kind.GO)
            self._served = self._speaker.ready
        for each in others:
            each.tell(Kind.GO)

    # -- the end

    def _is_to_go_on(self) -> bool:
        return self._ending_s is None

    def _end(self) -> None:
        self._ending_s = time.monotonic()
        self._signal_all(signal.SIGTERM)
        self._tell_if_alone()

    def _tell_if_alone(self) -> None:
        if not any(child.pid for child in self._children if child is not self._speaker):
            self._speaker.tell(Kind.ALONE)

    def _kill_late(self) -> None:
        if self._ending_s is not None and time.monotonic() > self._ending_s + self._grace_s + KILL_AFTER_S:
            self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                os.kill(child.pid, number)  # not reaped yet, so it is still this child's

    def _patience_s(self) -> float | None:
        """Until something is due."""
        if self._ending_s is not None:
            return KILL_AFTER_S
        due = [child.due_s for child in self._children if not child.pid]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _leave(self) -> None:
        self._signals.close()
        self._selector.close()
        for listener, held in zip(self._listeners, self._held, strict=True):
            held.close()
            if listener.taker is not None:
                Path(listener.address.removeprefix("unix:")).unlink(missing_ok=True)


class _Signals:
    """SIGTERM, SIGINT and SIGCHLD as something to select on, while this process has no event loop."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._heard, self._told = socket.socketpair()
        for end in (self._heard, self._told):
            end.setblocking(False)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        selector.register(self._heard, selectors.EVENT_READ, self)

    def asked_to_end(self) -> bool:
        """Reads what has come."""
        return not _TO_END.isdisjoint(self._heard.recv(SIGNALS_MAX))

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._heard.close()
        self._told.close()


def _hold(address: str) -> tuple[Listener, socket.socket]:
    """Takes an address for all workers. A port is bound and not listened at: no connection comes to this process.

    Raises: Precondition(ADDRESS_IN_USE | BAD_ADDRESS).
    """
    held = server.bound(address, shared=True)
    if address.startswith("unix:"):
        return Listener(address, held), held
    return Listener(server.shown(held), None), held
