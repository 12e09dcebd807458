"""`python -m tools.wheels`: wheels of the SDK and of the platform, their hot paths compiled. `make wheels` calls it.

    python -m tools.wheels                    builds them
    python -m tools.wheels --unpack DIR       and unpacks them there, for a PYTHONPATH; nothing to do where the sources
                                              are those of the last time

What is compiled stands in the pyproject.toml of each, under hooks.mypyc. Each wheel is built from its sdist in a
directory of its own: mypyc writes its results beside the sources, and what lay there would be imported ever after
instead of them. Needs a C compiler and Python's headers.
"""

import argparse
import compileall
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PROJECTS = (ROOT / "sdk/python", ROOT)
HATCHLING = (sys.executable, "-m", "hatchling", "build")
BUILD_S = 900.0  # two minutes on a quiet machine
MADE_OF = "made-of"
"""File beside what was unpacked: the digest of its sources."""


class CannotBuild(Exception):
    """Says what is missing, or what the build said."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.wheels", description="Wheels with the hot path compiled.")
    parser.add_argument("--unpack", type=Path, metavar="DIR", help="and unpack them there, if the sources have changed")
    given = parser.parse_args()
    try:
        if given.unpack is not None:
            sys.stdout.write(f"{unpacked(given.unpack)}\n")
        else:
            sys.stdout.write("".join(f"{wheel.relative_to(ROOT)}\n" for wheel in build(DIST)))
    except CannotBuild as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def build(into: Path) -> list[Path]:
    """The wheels of both projects. Raises: CannotBuild."""
    _check_compiler()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="waypost-wheels-") as scratch:
        return [_build(project, Path(scratch) / str(number), into) for number, project in enumerate(PROJECTS)]


def unpacked(into: Path) -> Path:
    """`into`, holding what both wheels hold. Raises: CannotBuild."""
    digest, made_of = sources_digest(), into / MADE_OF
    if not made_of.exists() or made_of.read_text() != digest:
        shutil.rmtree(into, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="waypost-wheels-") as scratch:
            for wheel in build(Path(scratch)):
                with ZipFile(wheel) as archive:
                    archive.extractall(into)
        compileall.compile_dir(into, quiet=1)  # as pip does, so that what is measured starts as what is installed
        made_of.write_text(digest)
    return into


def sources_digest() -> str:
    """Of all that goes into the wheels, and of the Python that they are for."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(_sources()):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for project in PROJECTS:
        config = project / "pyproject.toml"
        yield config
        wheel = tomllib.loads(config.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        for package in wheel["packages"]:
            yield from (project / package).rglob("*.py")


def _build(project: Path, scratch: Path, into: Path) -> Path:
    _run([*HATCHLING, "-t", "sdist", "-d", str(scratch)], project)
    (sdist,) = scratch.glob("*.tar.gz")
    shutil.unpack_archive(sdist, scratch)
    copy = sdist.with_name(sdist.name.removesuffix(".tar.gz"))
    _run([*HATCHLING, "-t", "wheel", "-d", str(scratch)], copy, HATCH_BUILD_HOOK_ENABLE_MYPYC="true")
    (wheel,) = scratch.glob("*.whl")
    return Path(shutil.move(wheel, into / wheel.name))


def _check_compiler() -> None:
    compiler = sysconfig.get_config_var("CC").split()[0]
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which(compiler) is None:
        raise CannotBuild(f"{compiler} is not installed: apt-get install gcc")
    if not headers.exists():
        raise CannotBuild(f"{headers} is not there: apt-get install python3-dev")


def _run(argv: list[str], directory: Path, **env: str) -> None:
    try:
        done = subprocess.run(
            argv, cwd=directory, env={**os.environ, **env}, capture_output=True, text=True, timeout=BUILD_S
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"not built within {BUILD_S:.0f} s: {' '.join(argv)}") from error
    if done.returncode:
        raise CannotBuild((done.stderr or done.stdout).strip()[-2000:])


if __name__ == "__main__":
    sys.exit(main())
