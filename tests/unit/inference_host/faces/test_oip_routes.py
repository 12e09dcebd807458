"""Paths of the HTTP face: what they lead to, whatever they look like."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_host.faces.oip_routes import TARGETS_MAX, Found, Routes

ROUTES = Routes(
    {
        "v2": {"GET": lambda request, found, answer: None},
        "v2/models/stats": {"GET": lambda request, found, answer: None},
        "v2/models/{model}[/versions/{version}]": {"GET": lambda request, found, answer: None},
        "v2/models/{model}[/versions/{version}]/infer": {"POST": lambda request, found, answer: None},
        "v2[/models/{model}]/trace/setting": {"POST": lambda request, found, answer: None},
    }
)


def holes(target: str) -> tuple[str, str] | None:
    found = ROUTES.find(target)
    return None if found is None else (found.model, found.version)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v2", ("", "")),
        ("/v2/", ("", "")),
        ("v2?x=/y", ("", "")),
        ("/v2/models/m", ("m", "")),
        ("/v2/models/m/versions/7", ("m", "7")),
        ("/v2/models/m/infer?x=1", ("m", "")),
        ("/v2/models/m/versions/7/infer", ("m", "7")),
        ("/v2/models/stats", ("", "")),
        ("/v2/models/stats/infer", ("stats", "")),
        ("/v2/models/a%2Fb%20c/infer", ("a/b c", "")),
        ("/v2/models/versions/infer", ("versions", "")),
        ("/v2/trace/setting", ("", "")),
        ("/v2/models/m/trace/setting", ("m", "")),
        ("/", None),
        ("/v1", None),
        ("/v2/models//infer", None),
        ("/v2/models/m/versions//infer", None),
        ("/v2/models/m/nothing", None),
        ("/v2/models/m/versions/7/infer/more", None),
        ("/v2/models/{model}x", ("{model}x", "")),
    ],
)
def test_targets_lead_where_they_should(target: str, expected: tuple[str, str] | None) -> None:
    assert holes(target) == holes(target) == expected


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_can_be_quoted_into_a_path(model: str, version: str) -> None:
    assert holes(f"/v2/models/{quote(model, safe='')}/versions/{quote(version, safe='')}") == (model, version)


@given(st.text(max_size=30))
def test_any_target_leads_somewhere_or_nowhere(target: str) -> None:
    assert isinstance(ROUTES.find(target), Found | None)


def test_what_is_found_is_found_once_and_not_for_ever() -> None:
    routes = Routes({"v2/models/{model}": {}})
    assert routes.find("/v2/models/m") is routes.find("/v2/models/m")
    first = routes.find("/v2/models/m")
    for number in range(TARGETS_MAX):
        routes.find(f"/v2/models/{number}")
    assert routes.find("/v2/models/m") is not first
