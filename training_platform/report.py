"""`waypost training status`: the directory, for people. Looks only; a server may run meanwhile."""

from pathlib import Path

from training_platform.catalogue import Catalogue, Problem, changes
from training_platform.deployments import Deployments
from training_platform.journal import LOG, Journal
from training_platform.layout import OURS, Digests, Directory
from training_platform.manifest import Key


def describe(root: Path) -> str:
    """One line for each version, then what is not published and why. Raises: MeshError, OSError."""
    found = Directory(root, Digests()).look()
    log = root / OURS / LOG
    told = Journal.read(log).catalogue if log.exists() else Catalogue()
    _, refused = changes(told, found)
    serving = Deployments(root).positions()
    keys = sorted({*found.versions, *told.versions, *told.withdrawn})
    lines = [_line(key, told, serving.get(key, set())) for key in keys]
    return "\n".join([*(lines or ["nothing is published"]), *_problems([*found.problems, *refused])]) + "\n"


def _line(key: Key, told: Catalogue, positions: set[str]) -> str:
    state = "published" if key in told.versions else "withdrawn" if key in told.withdrawn else "new"
    where = "serves at " + ", ".join(sorted(positions)) if positions else ""
    return f"{'/'.join(key):<40} {state:<10} {where}".rstrip()


def _problems(problems: list[Problem]) -> list[str]:
    if not problems:
        return []
    return ["", "not published:", *(f"  {problem.path}: {problem.message} [{problem.reason}]" for problem in problems)]
