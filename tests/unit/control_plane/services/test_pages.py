from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.services.listing import Listing, listing
from control_plane.services.pages import PAGE_SIZE_DEFAULT, Pages, page_size
from waypost.errors import Invalid

KEY = b"k" * 32
pages = Pages(KEY)
names = st.text(min_size=1).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@given(names, names)
def test_a_token_opens_to_what_was_sealed(query: str, after: str) -> None:
    assert pages.open(query, pages.seal(query, after)) == after


@given(names, names, names)
def test_a_token_is_good_for_its_own_query_only(query: str, other: str, after: str) -> None:
    if query != other:
        with pytest.raises(Invalid):
            pages.open(other, pages.seal(query, after))


@given(names, names, st.integers(0), st.characters())
def test_a_token_with_one_character_changed_is_refused_or_the_same(
    query: str, after: str, at: int, character: str
) -> None:
    token = pages.seal(query, after)
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    with suppress(Invalid):
        assert pages.open(query, changed) == after  # base64's last character has bits to spare


@given(st.text(min_size=1))
def test_any_text_is_refused_as_a_token(text: str) -> None:
    with pytest.raises(Invalid):
        pages.open("query", text)


def test_a_token_of_another_control_plane_is_refused() -> None:
    with pytest.raises(Invalid):
        Pages(b"x" * 32).open("query", pages.seal("query", "after"))


def test_nothing_after_means_no_token_and_no_token_means_the_beginning() -> None:
    assert pages.seal("query", "") == ""
    assert pages.open("query", "") == ""
    assert page_size(0) == PAGE_SIZE_DEFAULT


@pytest.mark.parametrize(
    ("parent", "collection", "prefix", "exact"),
    [
        ("projects/a", "applications", "projects/a/applications/", True),
        ("projects/-", "applications", "projects/", False),
        ("projects/a/applications/-", "models", "projects/a/applications/", False),
        ("projects/-/applications/b", "models", "projects/", False),
    ],
)
def test_a_listing_scans_no_more_than_it_must(parent: str, collection: str, prefix: str, exact: bool) -> None:
    owner = "projects" if collection == "applications" else "applications"
    wanted = listing(parent, owner, collection)
    assert (wanted.prefix, wanted.is_exact) == (prefix, exact)
    assert wanted.pattern.fullmatch(f"{parent.replace('-', 'x')}/{collection}/y")
    assert not wanted.pattern.fullmatch(f"{parent.replace('-', 'x')}/{collection}/y/z/w")


def test_what_nobody_owns_is_listed_from_the_top() -> None:
    assert Listing("", "projects").prefix == "projects/"


@pytest.mark.parametrize(
    "parent", ["", "-", "projects", "projects/", "projects/a/b", "-/a", "projects/a/applications/b"]
)
def test_parents_of_another_form_are_refused(parent: str) -> None:
    with pytest.raises(Invalid) as refused:
        listing(parent, "projects", "applications")
    assert refused.value.metadata["field"] == "parent"
