"""Versions of the platform's software on this machine: what monitors and hosts may be run with.

    <data_dir>/software/<version>/    a virtual environment with waypost-platform of that version (box/install.py)
    <data_dir>/software/current       a link to the one that the agent itself is started from (box/upgrade.py)

The agent's own interpreter is its own version, whether or not that lies there, too. Which version a process runs is
part of its variant, `<hash>@<version>`: so a change is a swap like that of a model, and one that ended is started
again as what it was.
"""

import os
import re
from pathlib import Path

from edge_agent.failure import Failure
from mesh.nursery import PYTHON
from mesh.version import VERSION

CURRENT = "current"
INSTALLING = ".installing"
"""Lies in the directory of a version that is not whole yet."""

_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,62}")


def software_of(variant: str) -> str:
    """The version in a variant or a shape; empty: an agent that knew no versions started it."""
    return variant.partition("@")[2]


class Software:
    """What is installed, looked up anew each time: people install while the agent runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def installed(self, version: str) -> bool:
        """Whether it can be run."""
        return version in ("", VERSION) or self.is_whole(version)

    def is_whole(self, version: str) -> bool:
        """Whether it lies in the directory, from beginning to end."""
        whole = not (self.directory / version / INSTALLING).exists()
        return whole and os.access(self._python(version), os.X_OK)

    @staticmethod
    def is_version(text: str) -> bool:
        """Whether it could be one: it names a directory."""
        return _VERSION.fullmatch(text) is not None

    @property
    def versions(self) -> list[str]:
        """All that can be run, sorted as text."""
        found = (path.name for path in self.directory.glob("[0-9]*"))
        return sorted({VERSION, *filter(self.is_whole, found)})

    @property
    def current(self) -> Path:
        """The link to the version that the agent is started from."""
        return self.directory / CURRENT

    def is_current(self, program: str) -> bool:
        """Whether a path of something to run lies below that link, as it was written."""
        above = Path(program).parents
        return len(above) > 2 and above[1].name == CURRENT and above[2].resolve() == self.directory.resolve()

    def command(self, version: str, *program: str) -> list[str]:
        """What starts a program of that version. Our own may come from the nursery (mesh/nursery.py)."""
        python, *flags = PYTHON
        return [python if version in ("", VERSION) else str(self._python(version)), *flags, *program]

    def missing(self, version: str) -> Failure:
        """Why nothing can be run with it."""
        return Failure(
            "SOFTWARE_NOT_INSTALLED",
            f"version {version} of the software is not installed on its edge server, which has"
            f" {', '.join(self.versions)}",
            f"`waypost agent install {version}` on the machine installs it in {self.directory}; or set"
            " spec.software_version to one that is there",
        )

    def _python(self, version: str) -> Path:
        return self.directory / version / "bin" / "python"
