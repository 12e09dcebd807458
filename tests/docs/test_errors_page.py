"""docs/reference/errors.md explains every error that the code makes, with its codes, and no other."""

import re

import pytest

from edge_agent.gateways.envoy.replies import REFUSALS
from inference_host.faces.http_errors import STATUSES
from tests.docs import reasons
from tests.docs.pages import REFERENCE, Row, rows
from tests.docs.syntax import PACKAGES, SDK, argument, calls, literals
from waypost.errors import BY_CODE

PAGE = (REFERENCE / "errors.md").read_text()
ROWS = list(rows(PAGE))
GRPC_NAMES = {kind.code.value: kind.code.name for kind in BY_CODE.values()}


def package(row: Row) -> str:
    """In the heading: `## Edge agent (`edge_agent`)`."""
    named = re.search(r"\(`(\w+)`\)", row.section[0])
    return {"waypost": SDK}.get(named[1], named[1]) if named else ""


@pytest.mark.parametrize("made_by", PACKAGES)
def test_every_reason_is_explained_where_it_is_made_and_no_other(made_by: str) -> None:
    documented = {row.names[0]: set(row.cells[1].split(", ")) for row in ROWS if package(row) == made_by}
    assert documented == reasons.made_in(made_by)


@pytest.mark.parametrize("made_by", PACKAGES)
def test_no_reason_has_two_rows_of_one_package(made_by: str) -> None:
    names = [row.names[0] for row in ROWS if package(row) == made_by]
    assert len(names) == len(set(names))


def test_every_row_says_when_and_what_to_do() -> None:
    assert [row for row in ROWS if package(row) and not (len(row.cells) == 4 and all(row.cells))] == []


def test_the_codes_are_those_of_the_classes() -> None:
    table = {row.cells[0]: row for row in ROWS if row.section == ("Codes",)}
    for kind in BY_CODE.values():
        row = table.pop(kind.code.name)
        assert row.cells[1:3] == (f"`{kind.__name__}`", str(STATUSES.get(kind, 500)))
    assert table == {}


def test_what_the_gateway_says_itself_is_listed_in_its_words() -> None:
    table = [row.cells for row in ROWS if row.section == ("What the gateway answers itself",)]
    assert len(table) == len(REFUSALS)
    for (http, code, message, _), refusal in zip(table, REFUSALS, strict=True):
        assert (int(http), code) == (refusal.http_status, GRPC_NAMES[refusal.grpc_status])
        assert refusal.text.startswith(message)


def test_every_goodbye_on_a_link_is_explained_and_no_other() -> None:
    said = {argument(call, 0, "reason") for _, call in calls(("end",), "mesh", "control_plane", "edge_agent")}
    table = {row.names[0] for row in ROWS if row.section == ("Why a link ended",)}
    assert table == {word for word in said if word.isupper()}


def test_what_keeps_a_version_from_being_published_is_named() -> None:
    calls = literals("training_platform/catalogue.py", "Problem", 1)
    assert calls
    assert all(f"`{reason}`" in PAGE for reason in (*calls, "UNREADABLE"))
