"""Logging: events with fields, one line each, to stderr.

    log = structlog.get_logger()
    log.info("replica_started", replica="r-4x8k2a", took_ms=412)

Event names are snake_case and constant; what varies is a field. JSON unless stderr is a terminal. Ids, never
payloads; never a token. `bind_contextvars` adds the request's id to everything logged while it is handled.

A line that cannot be written is lost: a full disk, or a reader that has gone, must not cost anybody an answer.
"""

import contextlib
import logging
import sys
from threading import Lock
from typing import Any

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(component: str, *, level: str = "info") -> None:
    """Once per process, before the first line."""
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *names: Stderr(),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=component)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)  # libraries that use the standard library's logging


class Stderr:
    """Where structlog's lines end. Never raises."""

    _lock = Lock()

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError), self._lock:  # ValueError: it is closed
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    debug = info = warning = error = critical = msg
