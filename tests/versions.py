"""The version before, from the repository's history, where that is there; and environments to run it from.

There is no release yet, so it is a commit. It is given a number of its own: the code of both says the same.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD = "0.0.9"


def unpacked(commit: str, directory: Path) -> Path:
    """The code of a commit; skips the test where the history does not reach so far."""
    packed = _of_history(commit, "archive", commit)
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "-xC", directory], input=packed, check=True)
    return directory


def one_file(commit: str, path: str) -> bytes:
    """As it was in a commit; skips the test where the history does not reach so far."""
    return _of_history(commit, "show", f"{commit}:{path}")


def _of_history(commit: str, *command: str) -> bytes:
    if subprocess.run(["git", "-C", ROOT, "cat-file", "-e", commit], capture_output=True, check=False).returncode:
        pytest.skip(f"commit {commit} is not in this copy of the repository")
    return subprocess.run(["git", "-C", ROOT, *command], capture_output=True, check=True).stdout


def renumbered(code: Path, version: str = OLD) -> Path:
    """The same, as that version."""
    (code / "mesh" / "version.py").write_text(f'"""The platform\'s version."""\n\nVERSION = "{version}"\n')
    return code


def environment(software: Path, version: str, code: Path) -> Path:
    """A virtual environment `<software>/<version>` with this code and our own dependencies; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", software / version], check=True)
    (site,) = (software / version).glob("lib/python*/site-packages")
    paths = (code, code / "sdk" / "python" / "src", sysconfig.get_path("purelib"))
    (site / "waypost.pth").write_text("".join(f"{path}\n" for path in paths))
    return software / version / "bin" / "python"
