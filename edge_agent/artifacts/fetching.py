"""The versions that one position needs, on their way: a task for each, tried again until it is here."""

import asyncio
from collections.abc import Callable

import structlog

from edge_agent.artifacts.store import Artifacts
from edge_agent.backoff import delay_s
from edge_agent.failure import Failure
from mesh.waiting import news_within
from waypost.api.control.v1.model_pb2 import ModelVersion
from waypost.errors import MeshError

log = structlog.get_logger()


class Fetches:
    """Lives inside the worker's task group."""

    def __init__(self, artifacts: Artifacts, tasks: asyncio.TaskGroup, wake: Callable[[], None]) -> None:
        self._artifacts = artifacts
        self._tasks = tasks
        self._wake = wake
        self._running: dict[str, asyncio.Task[None]] = {}
        self._hurry = asyncio.Event()
        self._fetched: set[str] = set()
        self.failures: dict[str, Failure] = {}
        """Why the last attempt failed, by digest."""

    @property
    def fetched(self) -> frozenset[str]:
        return frozenset(self._fetched)

    @property
    def fetching(self) -> frozenset[str]:
        return frozenset(self._running)

    def begin(self, digest: str, version: ModelVersion | None) -> None:
        """Fetches it in the background; nothing where that is under way."""
        if version is None:
            why = f"nobody has told this edge server what {digest} consists of"
            self.failures[digest] = Failure("UNKNOWN_VERSION", why, "deploy the version by name")
        elif digest not in self._running:
            self._running[digest] = self._tasks.create_task(self._fetch(version), name=f"fetch-{digest[7:19]}")

    def keep(self, needed: frozenset[str]) -> None:
        """Ends attempts for all other digests, and forgets what became of them: their files may be swept away now."""
        self._fetched &= needed
        for digest in self._running.keys() - needed:
            self._running.pop(digest).cancel()
        for digest in self.failures.keys() - needed:
            del self.failures[digest]

    def hurry(self) -> None:
        """The source may be back: whoever waits for the next attempt need not."""
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def _fetch(self, version: ModelVersion) -> None:
        failures = 0
        while True:
            hurry = self._hurry
            try:
                await self._artifacts.ensure(version)
                break
            except MeshError as error:
                failures += 1
                log.warning("fetch_failed", version=version.name, reason=error.reason, why=error.message)
                self.failures[version.digest] = Failure.of(error)
                self._wake()
            await news_within(hurry, delay_s(failures))
        self._fetched.add(version.digest)
        self.failures.pop(version.digest, None)
        self._running.pop(version.digest, None)
        self._wake()
