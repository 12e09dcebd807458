"""The `host` command: `run` serves, `check` looks at a package without trusting it; the others help to write one.

    python -m inference_host run MODEL                      by hand
    python -m inference_host run --settings FILE            at a position: its agent wrote the file
    python -m inference_host check PACKAGE                  see checker.py
    python -m inference_host init | test | bench            see workbench/

Exit codes of `run`: 0 after SIGTERM, 1 where it could not start (a taken port, a wrong setting), 3 where no model could
be loaded. In the last two cases `failure.json` beside the settings file says why, for the agent; the reason is also
the last thing that is logged.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import structlog

from inference_host import example, lane, reload
from inference_host.host import Host, placed
from inference_host.manifest import Package, find, read
from inference_host.settings import ENV_PREFIX, HostSettings
from inference_host.worker import Worker
from mesh import logs, serve, settings
from mesh.files import write_atomically
from waypost.errors import Invalid, MeshError, Precondition

log = structlog.get_logger()

USAGE = """usage: waypost host {init,run,test,bench,check} ...

  init [DIR]       write a small package that runs: a function, a scikit-learn or an ONNX model
  run MODEL        serve a model over the Open Inference Protocol, gRPC and HTTP on one port
  test [PACKAGE]   send a package its samples, by hand, over gRPC and over HTTP, and compare the answers
  bench MODEL      measure a model under load
  check PACKAGE    load a package in a confined process and tell whether it can be served

`waypost host run --help`, for instance, says more.
"""
COMMANDS = ("init", "run", "test", "bench", "check")

FAILURE = "failure.json"
EXIT_LOAD_FAILED = 3


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. argv: without the program's name."""
    match list(argv):
        case ["run", *rest]:
            return _run(rest)
        case ["check", *rest]:
            from inference_host import checker

            return checker.main(rest)
        case ["init" | "test" | "bench" as name, *rest]:
            from inference_host.workbench import commands

            command: Callable[[Sequence[str]], int] = getattr(commands, name)
            return command(rest)
        case ["-h" | "--help", *_]:
            sys.stdout.write(USAGE)
            return 0
        case [unknown, *_]:
            near = get_close_matches(unknown, COMMANDS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            hint = "`waypost host --help` shows them"
            sys.stderr.write(f"error: `waypost host` has no command {unknown!r}{meant}\n\nhint: {hint}\n")
            return 2
    sys.stderr.write(USAGE)
    return 2


def _run(argv: Sequence[str]) -> int:
    note = _FailureNote(argv)
    try:
        note.remove()
        chosen = settings.load(HostSettings, argv, prog="waypost host run", env_prefix=ENV_PREFIX)
    except MeshError as error:
        note.write(error)
        sys.stderr.write(serve.render(error))
        return 1
    if chosen.processes > 1:
        return _run_several(chosen, note)
    return _run_one(chosen, note)


def _run_one(chosen: HostSettings, note: "_FailureNote", worker: Worker | None = None) -> int:
    if worker is not None:
        structlog.contextvars.bind_contextvars(process=worker.index)
    life = _Life(chosen, note, worker)
    code = serve.run("host", life.main, log_level=chosen.log_level)
    if life.still_runs:
        _leave_threads(life.code or code)
    return life.code or code


def _run_several(chosen: HostSettings, note: "_FailureNote") -> int:
    from inference_host.supervisor import Supervisor

    logs.configure("host", level=chosen.log_level)
    try:
        supervisor = Supervisor(
            chosen.processes, chosen.addresses, chosen.grace_s, lambda worker: _run_one(chosen, note, worker)
        )
    except MeshError as error:
        note.write(error)
        sys.stderr.write(serve.render(error))
        return 1
    code = supervisor.run()
    if supervisor.failure is not None:
        note.write(supervisor.failure)
        _tell(supervisor.failure)
    return code


class _Life:
    """One run of a host, and how it ended."""

    def __init__(self, chosen: HostSettings, note: "_FailureNote", worker: Worker | None) -> None:
        self._settings = chosen
        self._worker = worker
        self._note = note
        self.code = 0
        """EXIT_LOAD_FAILED where nothing could be loaded."""
        self.still_runs = False
        """Whether a model runs on a thread beyond the grace."""
        self._imported_s = 0.0

    async def main(self, stop: asyncio.Event) -> None:
        self._imported_s = _age_s(os.getpid())
        try:
            failure = await self._serve(stop)
        except* MeshError as errors:
            self._note.write(_first(errors))
            raise
        if failure is not None:
            self._note.write(failure)
            self.code = EXIT_LOAD_FAILED
            _tell(failure)

    async def _serve(self, stop: asyncio.Event) -> MeshError | None:
        if not self._settings.reload:
            return await self._host(stop)
        path = reload.watched(self._settings)
        await reload.until_stopped(lambda: self._host(stop, path), path, stop)
        return None

    async def _host(self, stop: asyncio.Event, watched: Path | None = None) -> MeshError | None:
        """One host, to its end. Returns why nothing could be loaded, where that is so."""
        try:
            packages = _packages(self._settings)
        except Precondition as error:
            return error
        host = Host(self._settings, packages, self._worker)
        try:
            async with reload.following(host.plane, watched):
                return await host.run(stop, lambda: self._announce(host))
        finally:
            self.still_runs = host.execution.running > 0

    def _announce(self, host: Host) -> None:
        if self._worker is not None and not self._worker.speaks.is_set():
            return
        log.info(
            "host_ready",
            listen=host.addresses,
            grpcio_listen=host.grpcio_address or None,
            since_start_ms=round(_age_s(self._worker.host_pid if self._worker else os.getpid()) * 1e3),
            of_which_imports_ms=round(self._imported_s * 1e3),
            compiled=is_compiled(),
        )
        if host.plane.place.by_hand:
            _greet(host, self._settings.tls)


class _FailureNote:
    """`failure.json` beside the settings file; nowhere where there is none."""

    def __init__(self, argv: Sequence[str]) -> None:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings", type=Path, default=os.environ.get(f"{ENV_PREFIX}SETTINGS"))
        file = parser.parse_known_args(argv)[0].settings
        self._path = Path(file).parent / FAILURE if file else None

    def write(self, error: MeshError) -> None:
        if self._path is not None and self._path.parent.is_dir():
            note = {"reason": error.reason, "message": error.message, "hint": error.hint}
            write_atomically(self._path, json.dumps(note).encode())

    def remove(self) -> None:
        """What an earlier start died of says nothing about this one."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _packages(chosen: HostSettings) -> Sequence[Package]:
    """Raises: Precondition where there is nothing to serve, Invalid where nobody said what."""
    if chosen.package is not None:
        return [placed(read(chosen.package), chosen)]
    if chosen.model is None:
        raise Invalid("BAD_SETTING", "there is no model to serve", "name one: waypost host run MODEL.onnx")
    packages = find(chosen.model)
    if chosen.position_uid and len(packages) != 1:
        raise Precondition(
            "SEVERAL_MODELS", f"{chosen.model} holds {len(packages)} models, a position's host serves one"
        )
    return packages


def _greet(host: Host, tls: Path | None) -> None:
    """For the person who started it."""
    ready = [served.package for served in host.plane.served if served.life.serves]
    names = ", ".join(f"{package.model} (version {package.version})" for package in ready)
    sys.stdout.write(f"serving {names}\n")
    for address in host.addresses:
        sys.stdout.write(f"  gRPC and HTTP  {address}\n")
    if host.grpcio_address:
        sys.stdout.write(f"  gRPC (grpcio)  {host.grpcio_address}\n")
    if host.gate_open:
        sys.stdout.write("  nobody is asked for credentials\n")
    served = host.plane.served
    sys.stdout.write(f"\ntry it:\n  {example.curl(host.addresses[0], served, tls)}\n")
    if host.gate_open and (lines := example.sdk(host.addresses[0], served, tls)):
        sys.stdout.write("\n  ".join(["\nor from Python:", *lines]) + "\n")
    sys.stdout.flush()


def _tell(error: MeshError) -> None:
    """The last words: for people and, in one line, for programs."""
    if sys.stderr.isatty():
        sys.stderr.write(serve.render(error))
    else:
        log.error("host_failed", reason=error.reason, message=error.message, hint=error.hint)


def is_compiled() -> bool:
    """Whether the hot path is: the host was installed from a wheel of `make wheels`."""
    return not lane.__file__.endswith(".py")


def _age_s(pid: int) -> float:
    """Seconds since a process began, to the hundredth that the kernel keeps."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _first(errors: BaseExceptionGroup[MeshError]) -> MeshError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MeshError)
    return error


def _leave_threads(code: int) -> NoReturn:
    """Ends without waiting for models that still run: Python would join their threads, for as long as they take."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
