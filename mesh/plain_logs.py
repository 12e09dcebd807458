"""Imports structlog without rich, which it takes along wherever it is installed: 40 ms and 5 MB at each start.

rich would print tracebacks in colour; ours leave as text within one line of JSON (logs.py). Whoever counts milliseconds
imports this before anything that logs. Afterwards rich is there for all others as before.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """As if it were not installed (the import system's own way: None in sys.modules)."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _hidden("rich"):
    import structlog as structlog
