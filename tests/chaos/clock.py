"""Wall clocks that jump, for one component at a time: libfaketime, which looks for its offset in a file.

Monotonic clocks run on as they do when somebody sets the time of a machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = Path("/usr/lib")


class NoLibrary(Exception):
    """libfaketime is not installed."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Of everything that was started in `environment`."""

    file: Path

    def set(self, offset_s: int) -> None:
        """From the true time; by all at once, as on one machine."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.replace(self.file)

    def environment(self) -> Mapping[str, str]:
        """Raises: NoLibrary."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def library() -> Path:
    """Raises: NoLibrary."""
    for found in sorted(LIBRARIES.glob("*/faketime/libfaketime.so.1")):
        return found
    raise NoLibrary("clocks cannot be set here: apt-get install faketime")
