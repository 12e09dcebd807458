"""Reading the maps that packages carry in their docstrings: which modules there are, and what each is for.

    names, of, modules    what they are for      a second column    and what that is for (with others in brackets)

A name may end in `.py` or, of a package, in `/`. Columns are two spaces or more apart.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.syntax import PACKAGES, ROOT, SDK, tree

_NAME = r"[a-z][a-z0-9_]*(?:\.py|/)?"
_NAMES = re.compile(rf"{_NAME}(?:, {_NAME})*")
_IN_BRACKETS = re.compile(r"\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell of names, and what is said of them."""

    names: tuple[str, ...]
    what: str

    @property
    def in_brackets(self) -> set[str]:
        """Words of the text that may be names: `(audit.py: who did)`, `(h2_unary, h2_streaming)`."""
        pieces = (piece for text in _IN_BRACKETS.findall(self.what) for piece in re.split("[,;]", text))
        return {_bare(piece.partition(":")[0].strip()) for piece in pieces}


def packages() -> Iterator[Path]:
    """Every package of ours, but for the SDK: what is public there stands in its `__all__`."""
    for place in PACKAGES:
        if place != SDK:
            yield from (path.parent for path in sorted((ROOT / place).rglob("__init__.py")))


def modules(package: Path) -> set[str]:
    """Modules and packages below it, but for private ones."""
    files = {path.stem for path in package.glob("*.py") if not path.name.startswith("_")}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def docstring(path: Path) -> str:
    return ast.get_docstring(tree(str(path.relative_to(ROOT))), clean=False) or ""


def entries(package: Path) -> list[Entry]:
    """The map of a package; empty where it has none."""
    lines = docstring(package / "__init__.py").splitlines()
    return [entry for line in lines if is_of_a_map(line) for entry in _entries(line)]


def is_of_a_map(line: str) -> bool:
    cells = re.split(" {2,}", line.strip())
    return line.startswith("    ") and len(cells) > 1 and _NAMES.fullmatch(cells[0]) is not None


def _entries(line: str) -> Iterator[Entry]:
    cells = re.split(" {2,}", line.strip())
    assert len(cells) % 2 == 0, f"a line of a map has names and what they are for, in turn: {line!r}"
    for names, what in zip(cells[::2], cells[1::2], strict=True):
        assert _NAMES.fullmatch(names), f"{names!r} is no list of names, in {line!r}"
        yield Entry(tuple(_bare(name) for name in names.split(", ")), what)


def _bare(name: str) -> str:
    return name.removesuffix("/").removesuffix(".py")
