"""A model version as files: where they may lie, and what digest they make of it. Pure.

Training platforms, control planes, agents and hosts all judge by this: what one lets through, the next one takes.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Protocol

MANIFEST = "manifest.json"
"""Lies beside the files wherever they are laid out, and says what they are; none of them has this name."""

FILES_MAX = 256  # of one version; its record, manifest and every assignment carry the list
PATH_CHARACTERS_MAX = 255  # below what file systems take, with room for the directory above

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class File(Protocol):
    """Artifacts of all protos are such."""

    path: str
    digest: str


def version_digest(files: Iterable[File]) -> str:
    """The digest of a version with these files, in whatever order: see ModelVersion.digest in model.proto."""
    lines = sorted(f"{file.path} {file.digest}\n" for file in files)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_path(path: str) -> bool:
    """Whether a file of a package may lie there: below it, in one way of writing, and readable for people."""
    is_plain = path.isprintable() and "\\" not in path and len(path) <= PATH_CHARACTERS_MAX
    return is_plain and not {"", ".", ".."} & set(path.split("/")) and path != MANIFEST
