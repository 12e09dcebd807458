"""Names, short and full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import Invalid
from waypost.names import FORMS, leaf, parent, parse, short

ids = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.sampled_from(list(FORMS)), st.data())
def test_short_and_full_are_the_same_name(collection: str, data: st.DataObject) -> None:
    brief = "/".join(data.draw(ids) for _ in FORMS[collection])
    full = parse(brief, collection)
    assert parse(full, collection) == full
    assert short(full) == brief


def test_a_position_is_written_either_way() -> None:
    full = "projects/uav/applications/path-prediction/positions/tower-7"
    assert parse("uav/path-prediction/tower-7", "positions") == full
    assert parent(full) == "projects/uav/applications/path-prediction"
    assert leaf(full) == "tower-7"


@pytest.mark.parametrize(
    "bad", ["", "tower-7", "a/b/c/d", "uav/path/Tower", "uav//tower", "projects/uav/applications/a/models/m"]
)
def test_a_wrong_name_shows_the_form_expected(bad: str) -> None:
    with pytest.raises(Invalid):
        parse(bad, "positions")


def test_versions_are_not_only_numbers() -> None:
    assert leaf(parse("uav/path/lstm/2026.11-rc_1", "versions")) == "2026.11-rc_1"
