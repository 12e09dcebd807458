"""Versions of the platform's software on this machine: what monitors and hosts may be run with.

    <software_dir>/<version>/bin/python    a virtual environment with waypost-platform of that version
    <software_dir>/current                 a link to the one that the agent itself is started from (upgrade.py)

The agent's own interpreter is its own version, whether or not that lies there, too. Which version a process runs is
part of its variant, `<hash>@<version>`: so a change is a swap like that of a model, and one that ended is started
again as what it was.
"""

import os
from pathlib import Path

from edge_agent.drivers.base import Failure
from mesh.nursery import PYTHON
from mesh.version import VERSION


def software_of(variant: str) -> str:
    """The version in a variant or a shape; empty: an agent that knew no versions started it."""
    return variant.partition("@")[2]


class Software:
    """What is installed, looked up anew each time: people install while the agent runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def installed(self, version: str) -> bool:
        return version in ("", VERSION) or os.access(self._python(version), os.X_OK)

    @property
    def versions(self) -> list[str]:
        """All of them, sorted as text."""
        found = {path.parents[1].name for path in self.directory.glob("[0-9]*/bin/python") if os.access(path, os.X_OK)}
        return sorted(found | {VERSION})

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
