"""Pages and examples that must not rot."""

import re
from pathlib import Path

import pytest

from console import specs
from console.cli import reference
from console.kinds import KINDS, Kind

ROOT = Path(__file__).parents[3]
SPECS_PAGE = (ROOT / "docs/reference/specs.md").read_text()


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    written = (ROOT / "docs/reference/cli.md").read_text()
    assert written == reference.page(), "run: python -m console.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", SPECS_PAGE, re.DOTALL))
def test_every_document_on_the_page_of_specs_can_be_read(block: str) -> None:
    assert specs.load(block, "specs.md")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_specs_lists_what_may_be_written(kind: Kind) -> None:
    row = next(line for line in SPECS_PAGE.splitlines() if line.startswith(f"| `{kind.noun}` |"))
    assert re.findall(r"`([^`]+)`", row)[2:] == list(kind.writable)


def test_the_examples_can_be_applied_as_they_are() -> None:
    files = sorted((ROOT / "examples/specs").glob("*.yaml"))
    documents = specs.in_order(document for file in files for document in specs.load(file.read_text(), str(file)))
    assert {document.kind.noun for document in documents} == {"Project", "Application", "EdgeServer", "Position"}
