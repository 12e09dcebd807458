"""The book of one run: what happened, when and to whom, and the first law that was broken."""

import asyncio
import hashlib
import sys
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.sim.processes import ProcessLoop, current
from tests.sim.witness.laws import Broken

LINE_MAX = 240  # characters of one log line: enough to be told apart
FAULTS = frozenset({"worker_failed", "task_failed"})  # what our code logs where it catches a fault of its own
LOSSES = frozenset({"link_lost", "child_lost"})


class Book:
    def __init__(self, loop: ProcessLoop, traced: int) -> None:
        self._loop = loop
        self.broken: Broken | None = None
        self.news = asyncio.Event()
        """Set when a law was broken."""
        self.trace: deque[str] = deque(maxlen=traced)
        self.way = hashlib.sha256()
        """Of all that was ever noted."""
        self.happened = 0
        """Things that do not happen when all is quiet: starts, tables, commits of desired state, lost links."""

    @property
    def now_s(self) -> float:
        return self._loop.now_s

    def note(self, text: str) -> None:
        process = current()
        line = f"{self.now_s:9.3f}  {process.name if process else 'world':10}  {text}"
        self.trace.append(line)
        self.way.update(line.encode())

    def log(self, logger: Any, level: str, event: Mapping[str, Any]) -> str:
        """The last of structlog's processors: what our code logs becomes part of the trace."""
        facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "exc_info"))
        self.note(f"{event['event']} {facts}"[:LINE_MAX])
        if event["event"] in FAULTS:
            error = event["exc_info"] if isinstance(event["exc_info"], BaseException) else sys.exc_info()[1]
            self.fail("no-faults", "".join(traceback.format_exception(error)))
        if event["event"] in LOSSES:
            self.happened += 1
        return ""

    def must(self, law: str, true: object, how: str) -> None:
        if not true:
            self.fail(law, how)

    def fail(self, law: str, how: str) -> None:
        """The first that is broken ends the run; what follows from it is not of interest."""
        if self.broken is None and not self._loop.over:
            self.note(f"BROKEN {law}")
            self.broken = Broken(law, how)
            self.news.set()
