"""docs/reference/specs.md names every field of a kind's spec, in the kind's section or on a page that it points to."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from console.kinds import KINDS, Kind
from tests.docs.pages import REFERENCE

PAGE = (REFERENCE / "specs.md").read_text()
WITH_SPEC = [kind for kind in KINDS if "spec" in kind.writable]


def section(kind: Kind) -> str:
    """What stands below the kind's own heading."""
    found = re.search(rf"^### {kind.noun}$(.*?)^##", f"{PAGE}\n##", flags=re.MULTILINE | re.DOTALL)
    assert found, f"{kind.noun} has no section"
    return found[1]


def pointed_to(text: str) -> str:
    """The pages that a section points to, one after the other."""
    return "".join((REFERENCE / target).read_text() for target in re.findall(r"\]\(([^)#]+\.md)", text))


def fields(kind: Any) -> Iterator[str]:
    """Of a message and of the messages of ours in it."""
    for field in kind.fields:
        yield field.name
        if field.message_type and not field.message_type.full_name.startswith("google."):
            yield from fields(field.message_type)


def missing(names: Iterable[str], text: str) -> list[str]:
    """Those that stand neither in backticks nor before a colon, as in YAML."""
    return [name for name in names if not re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`|\b{name}:", text)]


@pytest.mark.parametrize("kind", WITH_SPEC, ids=lambda kind: kind.noun)
def test_the_section_of_a_kind_names_the_fields_of_its_spec(kind: Kind) -> None:
    spec = kind.new().DESCRIPTOR.fields_by_name["spec"].message_type
    text = section(kind)
    assert missing((field.name for field in spec.fields), text) == []
    assert missing(fields(spec), text + pointed_to(text)) == []


def test_the_table_names_every_kind_with_the_fields_that_people_write() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", PAGE, flags=re.MULTILINE)
    assert {noun: tuple(re.findall("`([^`]+)`", cell)) for noun, cell in rows} == {k.noun: k.writable for k in KINDS}
