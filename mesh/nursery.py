"""Python programs that start in a moment, and share most of their memory: a process that has imported them, and forks.

A program of ours spends nine tenths of its start, and most of its memory, on modules that are the same for all of
them. So one process, the nursery, imports them once. Asked to start `python -m MODULE ...` it forks: the child has
everything already, its pages are the nursery's until it writes to them.

    parent ──(one datagram: an order, and two open files)──▶ nursery ──(fork)──▶ child: MODULE as `__main__`

* An order needs no answer. The lock that the parent has taken for the child (mesh/processes.py) travels with it, and is
  held by whoever holds the order: where the nursery is killed before the fork, the kernel lets go of the lock, and the
  parent sees what it would see of a child that died at once.
* Only a parent hears how a process ended, and the nursery is one. It writes the exit code beside the lock, and holds
  the lock until it has: who sees the lock free can read the code.
* It lives as long as its parent does, and ends with it; what it has started goes on.
* It has one thread when it forks, but for those of OpenBLAS, which ends its own before a fork and starts them after.
  A module that starts threads, or opens files, when it is imported does not belong here.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = (sys.executable, "-P", "-m")
"""Begins a command that runs one of our modules; -P: what lies in the working directory is not ours to import."""
ORDER_BYTES_MAX = 64 << 10  # a command, and paths; the kernel's own bound is some 200 KiB
PATIENCE_S = 5.0  # it takes orders before it has imported anything: some hundred fit into the socket
ROOM_FOR_COMMAND = 1024  # bytes of the nursery's own command line, which become those of its children
STARTED_IN_VAIN = 125  # exit code of a child that could not write its pid; as in mesh/processes.py


@dataclass(frozen=True, slots=True)
class Order:
    """What to start. The files are the child's from here on: `lock` it holds, `log` is its stdout and stderr."""

    argv: tuple[str, ...]
    """Begins with PYTHON and a module."""
    pid_files: tuple[str, ...]
    """Where the child writes its pid before it becomes the program; the first is beside its lock."""
    lock: int
    log: int

    @property
    def exit_file(self) -> Path:
        return Path(self.pid_files[0]).with_name("exit")

    @property
    def stat_file(self) -> Path:
        """Where the child writes what the kernel says of it, before its pid."""
        return Path(self.pid_files[0]).with_name("stat")


class Nursery:
    """The parent's end. It starts the nursery when it is first needed, and another one when that has died."""

    def __init__(self, name: str, modules: Sequence[str], preload: Sequence[str], env: Mapping[str, str]) -> None:
        """name: whose it is, for those who look at processes. modules: those that it may run. preload: what to import
        for them. env: of the nursery and its children."""
        self._name = name
        self._modules = frozenset(modules)
        self._preload = tuple(preload)
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Of the nursery; None before it is needed."""
        return None if self._process is None else self._process.pid

    def can_start(self, argv: Sequence[str]) -> bool:
        return tuple(argv[:3]) == PYTHON and argv[3] in self._modules

    def warm_up(self) -> None:
        """Has everything imported before it is needed; does not wait for it. Raises: OSError."""
        if self._socket is None:
            self._open()

    def start(self, order: Order) -> None:
        """Hands the order over; does not wait. The caller closes its own copies of the two files. Raises: OSError."""
        try:
            self._send(order)
        except OSError:  # the nursery has died, or takes nothing any more
            self.close()
            self._send(order)

    def close(self) -> None:
        """Ends the nursery; what it has started goes on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()  # it has nothing to finish
            self._process.wait()
            self._process = None

    def _send(self, order: Order) -> None:
        self.warm_up()
        assert self._socket is not None
        page = json.dumps({"argv": order.argv, "pid_files": order.pid_files}).encode()
        socket.send_fds(self._socket, [page], [order.lock, order.log])

    def _open(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [*PYTHON, __name__, str(theirs.fileno()), self._name, " " * ROOM_FOR_COMMAND]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, env=self._env, pass_fds=(theirs.fileno(),), process_group=0
            )
        ours.settimeout(PATIENCE_S)
        ours.send(json.dumps(self._preload).encode())
        self._socket = ours


class _Home:
    """The nursery's own side: takes orders, and notes how its children end."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._children: dict[int, Order] = {}
        """By pid."""
        self._ends, self._ended = socket.socketpair()
        """A byte comes for every SIGCHLD."""
        self._ended.setblocking(False)

    def serve(self) -> Order | None:
        """Returns twice and more: in each child its order, and None here when the parent has gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ended.fileno(), warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self._orders, self._ends], [], [])
            if self._ends in ready:
                self._ends.recv(ORDER_BYTES_MAX)
                self._note_ends()
            if self._orders in ready:
                order = _receive(self._orders)
                if order is None or self._fork(order):
                    return order

    def _fork(self, order: Order) -> bool:
        """True in the child."""
        pid = os.fork()
        if pid == 0:
            self._let_go()
            return True
        with contextlib.suppress(OSError):  # it may have ended
            os.setpgid(pid, pid)  # here and in the child: whoever comes first
        os.close(order.log)
        self._children[pid] = order
        return False

    def _let_go(self) -> None:
        """In a child: of what belongs to the nursery, its siblings' locks above all."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._orders, self._ends, self._ended):
            end.close()
        for order in self._children.values():
            os.close(order.lock)

    def _note_ends(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            order = self._children.pop(pid)
            with contextlib.suppress(OSError):  # its directory may be gone, the disk may be full
                order.exit_file.write_text(str(os.waitstatus_to_exitcode(status)))
            os.close(order.lock)


def _receive(orders: socket.socket) -> Order | None:
    """None where the parent has gone."""
    page, files, _, _ = socket.recv_fds(orders, ORDER_BYTES_MAX, 2)
    if not page:
        return None
    lock, log = files
    said = json.loads(page)
    return Order(tuple(said["argv"]), tuple(said["pid_files"]), lock, log)


def _become(order: Order) -> None:
    """Turns this child into the program, as `python -m` would have done it. Ends by SystemExit."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (1, 2):
        os.dup2(order.log, number)
    os.close(order.log)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        order.stat_file.write_text(Path("/proc/self/stat").read_text())
        for path in order.pid_files:
            Path(path).write_text(f"{os.getpid()}\n")
    except OSError as error:
        sys.stderr.write(f"cannot start: {error}\n")
        sys.exit(STARTED_IN_VAIN)
    _show_command(order.argv)
    gc.enable()
    module, *rest = order.argv[3:]
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _show_command(argv: Sequence[str]) -> None:
    """Writes `argv` where `ps` and others read a process's command line.

    The kernel takes it for a text that the process chose, as by setproctitle(3), where its last byte is no NUL.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, proc_pid_stat(5)
    room = end - start
    text = os.fsencode(" ".join(argv))[: room - 2]
    ctypes.memmove(start, text.ljust(room - 1, b"\0") + b" ", room)


def main(argv: Sequence[str]) -> int:
    """argv: a socket, which says first what to import and then what to start; what follows is for people."""
    orders = socket.socket(fileno=int(argv[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent
    gc.disable()
    for name in json.loads(orders.recv(ORDER_BYTES_MAX) or "[]"):
        with contextlib.suppress(ImportError):  # whoever is started says what is missing, in its own log
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or the first collection of each child would write to every object
    order = _Home(orders).serve()
    if order is not None:
        _become(order)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
