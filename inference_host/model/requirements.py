"""`requirements.txt` of a package: the libraries that its template needs, held against what is installed here.

A host installs nothing. It says before it imports the template what is missing, all of it at once, with the command
that would install it. The file has pip's format as far as it names libraries: one requirement a line (PEP 508, with
versions, extras and environment markers), comments, and nothing else. Options such as `-r` or `--index-url` say where
to get things, which is not a host's business, and are refused so that nobody believes in them.
"""

import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from waypost.errors import Precondition

REQUIREMENTS = "requirements.txt"
BYTES_MAX = 64 << 10  # a few thousand lines


def check(directory: Path) -> None:
    """Raises: Precondition(MISSING_LIBRARY) that names everything missing, Precondition(BAD_REQUIREMENTS)."""
    path = directory / REQUIREMENTS
    if not path.is_file():
        return
    wanted = [requirement for requirement in _read(path) if _applies(requirement)]
    missing = {str(requirement): what for requirement in wanted if (what := _missing(requirement))}
    if missing:
        raise Precondition(
            "MISSING_LIBRARY",
            f"{REQUIREMENTS} asks for what is not here: {'; '.join(missing.values())}",
            f"beside the host: pip install {shlex.join(missing)}",
        )


def _read(path: Path) -> Iterator[Requirement]:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ValueError(f"it is larger than {BYTES_MAX} bytes")
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise _bad(str(error)) from error
    for number, line in enumerate(lines, 1):
        text = line.strip() if line.lstrip().startswith("#") else line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield Requirement(text)
        except InvalidRequirement as error:
            raise _bad(f"line {number}, {text[:80]!r}, is no requirement") from error


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate()


def _missing(requirement: Requirement) -> str:
    """What is wrong with it here, in words; empty: nothing."""
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement} (not installed)"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"{requirement} ({installed} is installed)"
    lacking = [what for extra in sorted(requirement.extras) for what in _lacking(requirement.name, extra)]
    return f"{requirement} (which lacks {', '.join(lacking)})" if lacking else ""


def _lacking(name: str, extra: str) -> Iterator[str]:
    """What an extra of an installed library needs and is not here."""
    for text in metadata.requires(name) or ():
        needed = Requirement(text)
        if (
            needed.marker is not None
            and needed.marker.evaluate({"extra": extra})
            and not needed.marker.evaluate({"extra": ""})
        ):
            needed.marker = None
            if what := _missing(needed):
                yield what


def _bad(why: str) -> Precondition:
    hint = "one library a line, such as `numpy>=1.26`; say in an image or a virtual environment where to get it"
    return Precondition("BAD_REQUIREMENTS", f"{REQUIREMENTS}: {why}", hint)
