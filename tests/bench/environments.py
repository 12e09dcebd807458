"""Python environments of the peers: each of its own, with every version pinned, kept between runs."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_S = 1200.0
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement")


class CannotInstall(Exception):
    """Says why."""


def environment(cache: Path, requirements: Path, python: str = "") -> Path:
    """The interpreter of an environment that holds `requirements`, made where it is not there yet.

    python: the interpreter to make it with; empty: this one's. Raises: CannotInstall.
    """
    base = shutil.which(python or sys.executable)
    if base is None:
        raise CannotInstall(f"{python} is not on this machine")
    digest = hashlib.sha256(requirements.read_bytes() + base.encode()).hexdigest()[:12]
    directory = cache / "environments" / f"{requirements.parent.name}-{digest}"
    interpreter = directory / "bin" / "python"
    complete = directory / "complete"
    if not complete.exists():
        shutil.rmtree(directory, ignore_errors=True)
        _run([base, "-m", "venv", str(directory)])
        _run([str(interpreter), *PIP, str(requirements)])
        complete.touch()
    return interpreter


def _run(argv: list[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"not installed within {INSTALL_S:.0f} s: {' '.join(argv)}") from error
    if done.returncode:
        raise CannotInstall((done.stderr or done.stdout).strip()[-600:])
