"""Wall time and identifiers: the only two places where the world's time and luck enter.

Code that decides takes `now` and `ids` as arguments; only composition roots and I/O shells call these.
Waiting is done with the event loop's own clock, never with this one.
"""

import time
import uuid
from typing import Protocol


def now() -> float:
    """Seconds since the epoch, on this machine's wall clock."""
    return time.time()  # noqa: TID251  the one allowed place


class Ids(Protocol):
    """A source of identifiers."""

    def uuid(self) -> str: ...


class RandomIds:
    """UUID4, from the operating system's randomness."""

    def uuid(self) -> str:
        return str(uuid.uuid4())
