"""`waypost agent install`: a version of the platform's software, in an environment of its own beside the others.

Monitors and hosts run with what their position's spec names, and the agent with `current`; so a version is installed
before anybody asks for it, and what runs is not touched. A directory that is not whole is marked until it is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from edge_agent.machine.layout import layout_of
from edge_agent.machine.software import CURRENT, INSTALLING, Software
from mesh.files import private_directory
from mesh.settings import Positional, Settings
from waypost.errors import Invalid, Unavailable

PACKAGE = "waypost-platform[agent,monitor,host,console]"
PIP_LINES = 5  # of what pip says last; the cause is among them


class InstallSettings(Settings):
    """Installs a version of the software for this machine's agent, monitors and hosts; nothing that runs changes."""

    version: Annotated[str, Positional()]
    """Version of the software, 0.2.0."""

    data_dir: Path = Path(".waypost/edge")
    """The agent's directory, as it was given to `waypost agent`."""

    wheels: Path | None = None
    """Directory with the wheels of that version and of all that it needs, for machines without a package index. Empty:
    from wherever pip is configured to install."""


def install(settings: InstallSettings) -> None:
    """Raises: Invalid(BAD_VERSION | NO_WHEELS), Unavailable(INSTALL_FAILED)."""
    software = Software(layout_of(settings.data_dir, None).software)
    provide(software, settings.version, settings.wheels)
    if not os.path.lexists(software.current):
        point(software, settings.version)
        _say(f"{software.current} is {settings.version}: start the agent with {software.current}/bin/waypost agent run")


def provide(software: Software, version: str, wheels: Path | None) -> None:
    """Installs a version where it is not there yet. Raises as `install`."""
    if not software.is_version(version):
        raise Invalid("BAD_VERSION", f"{version!r} is no version of the software", "for example 0.2.0")
    if wheels is not None and not wheels.is_dir():
        raise Invalid("NO_WHEELS", f"{wheels} is no directory", "give the one that holds the wheels")
    target = software.directory / version
    if software.is_whole(version):
        _say(f"{version} is installed in {target}")
        return
    shutil.rmtree(target, ignore_errors=True)
    private_directory(software.directory)
    target.mkdir()
    (target / INSTALLING).touch()
    _run(target, [sys.executable, "-m", "venv", str(target)])
    index = ["--no-index", "--find-links", str(wheels.resolve())] if wheels else []
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(target, [*pip, *index, f"{PACKAGE}=={version}"])
    (target / INSTALLING).unlink()
    _say(f"{version} was installed in {target}")


def point(software: Software, version: str) -> None:
    """From now on the agent is started from this version; there is no moment without one."""
    fresh = software.current.with_name(f".{CURRENT}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    os.replace(fresh, software.current)


def _run(target: Path, command: Sequence[str]) -> None:
    """Raises: Unavailable(INSTALL_FAILED); nothing is left then."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    shutil.rmtree(target, ignore_errors=True)
    said = " / ".join((done.stdout + done.stderr).strip().splitlines()[-PIP_LINES:])
    raise Unavailable(
        "INSTALL_FAILED",
        f"{target.name} could not be installed: {said}",
        "nothing was changed; on a machine without a package index: --wheels DIR",
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
