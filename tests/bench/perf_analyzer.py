"""NVIDIA's perf_analyzer, unmodified: a program on PyPI that needs a newer C library than many systems have.

Its wheel is for glibc 2.38 and later; where that is missing pip installs an empty package of the same name. So the
wheel is fetched for its own platform and unpacked, and on an older Debian it is started by the loader of the next
release, with that release's libraries beside it. Nothing is installed into the system.
"""

import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.environments import CannotInstall

VERSION = "2.60.0"
PLATFORM = "manylinux_2_38_x86_64"
GLIBC = (2, 38)
RELEASE = "trixie"  # of Debian, with glibc 2.41
LIBRARIES = ("libc6", "libgcc-s1", "libssl3t64", "libstdc++6", "libzstd1", "zlib1g")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FETCH_S = 300.0


def program(cache: Path) -> list[str]:
    """How it is started, up to its own flags; fetched where it is not there yet. Raises: CannotInstall."""
    directory = cache / f"perf_analyzer-{VERSION}"
    if not (directory / "complete").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        _fetch(directory)
        (directory / "complete").touch()
    binary = directory / "perf_analyzer/bin/perf_analyzer"
    if _glibc() >= GLIBC:
        return [str(binary)]
    libraries = directory / "debian/usr/lib/x86_64-linux-gnu"
    return [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries), str(binary)]


def _fetch(directory: Path) -> None:
    if platform.machine() != "x86_64":
        raise CannotInstall(f"perf_analyzer has no wheel for {platform.machine()}")
    pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    wanted = ["--platform", PLATFORM, "--dest", str(directory), f"perf-analyzer=={VERSION}"]
    _run([sys.executable, *pip, *wanted], directory)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    (directory / "perf_analyzer/bin/perf_analyzer").chmod(0o755)
    if _glibc() < GLIBC:
        _fetch_libraries(directory)


def _fetch_libraries(directory: Path) -> None:
    """By an apt of its own, that knows the next release only and nothing of what is installed."""
    if not (KEYRING.exists() and shutil.which("apt-get")):
        version = ".".join(map(str, GLIBC))
        raise CannotInstall(f"perf_analyzer needs glibc {version}, or a Debian from which the next one can be read")
    for name in ("lists/partial", "archives/partial"):
        (directory / "apt" / name).mkdir(parents=True)
    sources = directory / "apt/sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror(directory)} {RELEASE} main\n")
    options = {
        "Dir::State": directory / "apt",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": directory / "apt",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "--quiet=2", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], directory)
    _run([*apt, "download", *LIBRARIES], directory)
    for package in directory.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(directory / "debian")], directory)
        package.unlink()


def _mirror(directory: Path) -> str:
    """Where this system has its packages from."""
    told = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], directory)
    for uri in told.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise CannotInstall("perf_analyzer needs a newer C library, and apt names no Debian repository to take it from")


def _glibc() -> tuple[int, ...]:
    """Of this system; nothing where it has another C library."""
    return tuple(int(part) for part in platform.libc_ver()[1].split(".") if part)


def _run(argv: Sequence[str], directory: Path) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=FETCH_S, cwd=directory)
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"not done within {FETCH_S:.0f} s: {' '.join(argv)}") from error
    if done.returncode:
        raise CannotInstall((done.stderr or done.stdout).strip()[-600:])
    return done.stdout
