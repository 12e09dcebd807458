"""`waypost host run`, from its settings to its exit code: one host or several processes, loaded anew if that is asked.

A `_Life` is one process's run of a host. It serves until it is told to stop, greets the person who started it by hand,
and leaves a note where it cannot serve at all. Exit codes stand in app.py.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from inference_host import example, reload
from inference_host.failure_note import FailureNote
from inference_host.host import Host, placed
from inference_host.model.manifest import Package, find
from inference_host.processes.worker import Worker
from inference_host.serving import lane, turns
from inference_host.settings import HostSettings
from mesh import logs, serve
from waypost.errors import Invalid, MeshError, Precondition

log = structlog.get_logger()

EXIT_LOAD_FAILED = 3


def run(chosen: HostSettings, note: FailureNote) -> int:
    """Until SIGTERM, or until it cannot serve; returns the exit code."""
    return _run_several(chosen, note) if chosen.processes > 1 else _run_one(chosen, note)


def _run_one(chosen: HostSettings, note: FailureNote, worker: Worker | None = None) -> int:
    if worker is not None:
        structlog.contextvars.bind_contextvars(process=worker.index)
    life = _Life(chosen, note, worker)
    code = serve.run("host", life.main, log_level=chosen.log_level)
    if life.still_runs:
        _leave_threads(life.code or code)
    return life.code or code


def _run_several(chosen: HostSettings, note: FailureNote) -> int:
    from inference_host.processes.supervisor import Supervisor

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

    def __init__(self, chosen: HostSettings, note: FailureNote, worker: Worker | None) -> None:
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
        turns.take_short()
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


def _packages(chosen: HostSettings) -> Sequence[Package]:
    """Raises: Precondition where there is nothing to serve, Invalid where nobody said what."""
    if chosen.model is None:
        raise Invalid("BAD_SETTING", "there is no model to serve", "name one: waypost host run MODEL.onnx")
    packages = find(chosen.model)
    if not chosen.position_uid:
        return packages
    if len(packages) != 1:
        raise Precondition(
            "SEVERAL_MODELS", f"{chosen.model} holds {len(packages)} models, a position's host serves one"
        )
    return [placed(packages[0], chosen)]


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
