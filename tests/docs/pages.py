"""Reading the pages of docs/: tables, code blocks, headings."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"

_HEADING = re.compile(r"(#+) (.*)")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table. section: the headings that it stands under, from `##` on."""

    section: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What stands in backticks in the first cell."""
        return tuple(re.findall(r"`([^`]+)`", self.cells[0]))


def rows(text: str) -> Iterator[Row]:
    """Every row of every table, without the tables' heads."""
    headings: list[str] = []
    lines = prose(text)
    for index, line in enumerate(lines):
        if heading := _HEADING.match(line):
            headings[len(heading[1]) - 2 :] = [heading[2]]
        elif line.startswith("|") and not line.startswith("|---") and not _is_head(lines, index):
            cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            yield Row(tuple(headings), tuple(cells))


def _is_head(lines: list[str], index: int) -> bool:
    return index + 1 < len(lines) and lines[index + 1].startswith("|---")


def prose(text: str) -> list[str]:
    """The lines outside of code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()


def blocks(text: str, kind: str) -> list[str]:
    """The code blocks of a kind: `sh`, `python`."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The headings, as GitHub makes anchors of them."""
    headings = (heading[2] for line in prose(text) if (heading := _HEADING.match(line)))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
