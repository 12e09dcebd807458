"""The table that says who may do what, and the roles that it is judged by."""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

import waypost.api.control.v1 as api
from control_plane.access import Caller, Grants
from control_plane.access.roles import EVERYWHERE, project_of
from control_plane.access.rules import RULES, judge
from waypost.api.control.v1 import application_pb2, credential_pb2, position_pb2, watch_pb2
from waypost.api.control.v1.role_pb2 import (
    ROLE_ADMIN,
    ROLE_DEVELOPER,
    ROLE_OPERATOR,
    ROLE_UNSPECIFIED,
    ROLE_VIEWER,
    Role,
)
from waypost.errors import Denied

CONTROL = "/waypost.api.control.v1."
UAV, RAN = "projects/uav", "projects/ran"


def methods() -> Iterator[Any]:
    for found in pkgutil.iter_modules(api.__path__):
        if found.name.endswith("_pb2"):
            module = importlib.import_module(f"{api.__name__}.{found.name}")
            for service in module.DESCRIPTOR.services_by_name.values():
                yield from service.methods


METHODS = {f"/{method.containing_service.full_name}/{method.name}": method for method in methods()}


def allowed(method: str, request: Any, **roles: Role.ValueType) -> bool:
    """roles: by project id; `everywhere`."""
    granted = [(EVERYWHERE if where == "everywhere" else f"projects/{where}", role) for where, role in roles.items()]
    try:
        judge(f"{CONTROL}{method}", request, Caller("users/somebody", "", Grants.of(granted)))
    except Denied:
        return False
    return True


def test_the_table_knows_every_method_of_the_api_and_no_other() -> None:
    assert {path for path in RULES if path.startswith(CONTROL)} == METHODS.keys()


@pytest.mark.parametrize("path", METHODS)
def test_every_row_reads_fields_that_its_request_has(path: str) -> None:
    """An empty request is judged too, and where roles matter nobody without one passes."""
    needs = RULES[path]
    places = list(needs.places(GetMessageClass(METHODS[path].input_type)(), Caller("users/nobody")))
    if needs.is_open or needs.words == "any credential":
        assert places == []
    else:
        with pytest.raises(Denied):
            judge(path, GetMessageClass(METHODS[path].input_type)(), Caller("users/nobody"))


@pytest.mark.parametrize("path", METHODS)
def test_whatever_changes_something_needs_more_than_a_viewer(path: str) -> None:
    needs = RULES[path]
    changes = not METHODS[path].GetOptions().idempotency_level
    places = list(needs.places(GetMessageClass(METHODS[path].input_type)(), Caller("users/nobody")))
    if changes and places:
        assert all(role > ROLE_VIEWER for role, _ in places)


def test_a_method_that_nobody_thought_of_is_denied_to_administrators_too() -> None:
    admin = Caller("credentials/admin", "", Grants.of([(EVERYWHERE, ROLE_ADMIN)]))
    for path in (f"{CONTROL}PositionService/Explode", "/waypost.api.link.v1.AgentLinkService/ConnectAgent", "", "/"):
        with pytest.raises(Denied) as refused:
            judge(path, None, admin)
        assert refused.value.reason == "METHOD_DENIED"


def test_a_role_in_one_project_says_nothing_in_another() -> None:
    ours = position_pb2.DeletePositionRequest(name=f"{UAV}/applications/a/positions/p")
    theirs = position_pb2.DeletePositionRequest(name=f"{RAN}/applications/a/positions/p")
    assert allowed("PositionService/DeletePosition", ours, uav=ROLE_OPERATOR)
    assert not allowed("PositionService/DeletePosition", theirs, uav=ROLE_ADMIN)
    assert allowed("PositionService/DeletePosition", theirs, uav=ROLE_VIEWER, everywhere=ROLE_OPERATOR)


def test_an_update_is_judged_by_the_resource_inside() -> None:
    theirs = application_pb2.UpdateApplicationRequest(application={"name": f"{RAN}/applications/a"}, allow_missing=True)
    assert not allowed("ApplicationService/UpdateApplication", theirs, uav=ROLE_ADMIN)
    assert allowed("ApplicationService/UpdateApplication", theirs, ran=ROLE_DEVELOPER)


@pytest.mark.parametrize(
    "name", ["", "projects", "projects/", "projects/-", "projects//applications/a", "edgeServers/e"]
)
def test_what_names_no_single_project_needs_a_role_that_holds_everywhere(name: str) -> None:
    request = position_pb2.GetPositionRequest(name=name)
    assert project_of(name) == EVERYWHERE
    assert not allowed("PositionService/GetPosition", request, uav=ROLE_ADMIN, ran=ROLE_ADMIN)
    assert allowed("PositionService/GetPosition", request, everywhere=ROLE_VIEWER)


def test_lists_over_all_projects_are_open_to_whoever_sees_anything() -> None:
    for parent in ("", "projects/-", "projects/-/applications/-"):
        assert allowed(
            "ApplicationService/ListApplications",
            application_pb2.ListApplicationsRequest(parent=parent),
            uav=ROLE_VIEWER,
        )
    foreign = application_pb2.ListApplicationsRequest(parent=RAN)
    assert not allowed("ApplicationService/ListApplications", foreign, uav=ROLE_ADMIN)


def test_a_watch_is_judged_by_each_of_its_names() -> None:
    for names, may in (([], True), ([UAV], True), ([UAV, RAN], False), (["edgeServers", "projects"], True)):
        assert allowed("WatchService/Watch", watch_pb2.WatchRequest(names=names), uav=ROLE_VIEWER) is may


@pytest.mark.parametrize(
    ("parent", "least", "where"),
    [
        ("", ROLE_ADMIN, "everywhere"),
        (UAV, ROLE_ADMIN, "uav"),
        (f"{UAV}/applications/a", ROLE_DEVELOPER, "uav"),
        ("edgeServers/e", ROLE_OPERATOR, "everywhere"),
        ("users/anna", ROLE_ADMIN, "everywhere"),
        ("nonsense", ROLE_ADMIN, "everywhere"),
    ],
)
def test_a_credential_is_as_dear_as_what_it_opens(parent: str, least: Role.ValueType, where: str) -> None:
    create = credential_pb2.CreateCredentialRequest(parent=parent)
    delete = credential_pb2.DeleteCredentialRequest(name=f"{parent}/credentials/c".lstrip("/"))
    for role in Role.values()[1:]:
        for method, request in (("CreateCredential", create), ("DeleteCredential", delete)):
            assert allowed(f"CredentialService/{method}", request, **{where: role}) is (role >= least)


roles = st.sampled_from(Role.values())
places = st.sampled_from([EVERYWHERE, UAV, RAN])


@given(st.lists(st.tuples(places, roles)), places, roles)
def test_a_further_grant_never_takes_anything_away(
    granted: list[tuple[str, Role.ValueType]], place: str, role: Role.ValueType
) -> None:
    before, after = Grants.of(granted), Grants.of([*granted, (place, role)])
    for project in (EVERYWHERE, UAV, RAN):
        assert after.in_project(project) >= before.in_project(project)
        assert after.in_project(project) <= after.anywhere()
        assert after.in_project(project) >= after.in_project(EVERYWHERE)
    assert after.in_project(place) >= role


@given(st.lists(st.tuples(places, roles)))
def test_who_has_no_role_sees_nothing(granted: list[tuple[str, Role.ValueType]]) -> None:
    caller = Caller("users/somebody", "", Grants.of(granted))
    assert caller.sees("edgeServers/e") is any(role > ROLE_UNSPECIFIED for _, role in granted)
    assert caller.sees(UAV) is any(role > ROLE_UNSPECIFIED and place in (UAV, EVERYWHERE) for place, role in granted)
    assert caller.sees("credentials/admin") is any(role and place == EVERYWHERE for place, role in granted)
