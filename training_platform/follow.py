"""Keeps the log true to the directory: look, compare, append, wake the subscribers; several times a second."""

import asyncio

import structlog

from training_platform.catalogue import Found, Problem, changes
from training_platform.journal import Journal
from training_platform.layout import Directory
from training_platform.service import Bell
from waypost.errors import MeshError

log = structlog.get_logger()

LOOK_S = 0.2  # a new version is with the subscribers within 0.3 s; idle, looking costs one percent of a CPU
LOOK_SHARE = 0.1  # of the time, at most: a directory of ten thousand versions is looked at less often


class Follower:
    def __init__(self, directory: Directory, journal: Journal, bell: Bell) -> None:
        self._directory = directory
        self._journal = journal
        self._bell = bell
        self._problems: frozenset[Problem] = frozenset()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            started = loop.time()
            await self._look()
            pause_s = max(LOOK_S, (loop.time() - started) / LOOK_SHARE)
            try:
                async with asyncio.timeout(pause_s):
                    await stop.wait()
            except TimeoutError:
                pass  # time for the next look

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._directory.look_served)
            self._take(found)
        except (OSError, MeshError) as error:
            # Neither ends the platform: a disk that is full or away may come back, and what was told stays true.
            self._tell(frozenset({Problem("", getattr(error, "reason", "UNREADABLE"), str(error))}))

    def _take(self, found: Found) -> None:
        events, refused = changes(self._journal.catalogue, found)
        self._tell(frozenset({*found.problems, *refused}))
        if not events:
            return
        try:
            self._journal.append(events)
        finally:
            self._bell.ring()
        for sequence, event in enumerate(events, self._journal.last - len(events) + 1):
            kind = event.WhichOneof("event") or ""
            log.info("event_appended", kind=kind, what=_name(getattr(event, kind)), sequence=sequence)

    def _tell(self, problems: frozenset[Problem]) -> None:
        """Logs each problem once, and once more when it is gone."""
        for problem in sorted(problems - self._problems, key=str):
            log.error("not_published", path=problem.path, reason=problem.reason, message=problem.message)
        for problem in sorted(self._problems - problems, key=str):
            log.info("problem_gone", path=problem.path, reason=problem.reason)
        self._problems = problems


def _name(what: object) -> str:
    """`water/forecaster/1` for anything that has a name."""
    if isinstance(what, str):
        return what
    return "/".join(getattr(what, field) for field in ("application", "model", "version") if hasattr(what, field))
