"""`waypost role` and `waypost token`: what they ask the platform, and what they print."""

import pytest

from tests.unit.console.conftest import Run
from tests.unit.console.fake_platform import FakePlatform
from waypost.api.control.v1.audit_pb2 import AuditEntry, ListAuditEntriesResponse
from waypost.api.control.v1.credential_pb2 import (
    CreateCredentialResponse,
    ListCredentialsResponse,
    RotateCredentialResponse,
)
from waypost.api.control.v1.role_binding_pb2 import (
    CreateRoleBindingResponse,
    DeleteRoleBindingResponse,
    ListRoleBindingsResponse,
    RoleBinding,
)
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_OPERATOR, ROLE_VIEWER

EVERYWHERE = RoleBinding(name="roleBindings/a", subject="credentials/ci", role=ROLE_VIEWER)
IN_UAV = RoleBinding(name="projects/uav/roleBindings/b", subject="credentials/ci", role=ROLE_OPERATOR)


@pytest.fixture(autouse=True)
def bindings(platform: FakePlatform) -> None:
    """One that holds everywhere, one in a project."""
    by_parent = {"": [EVERYWHERE], "projects/-": [IN_UAV], "projects/uav": [IN_UAV]}
    platform.answers["ListRoleBindings"] = lambda request: ListRoleBindingsResponse(
        role_bindings=by_parent[request.parent]
    )
    platform.answers["CreateRoleBinding"] = lambda request: CreateRoleBindingResponse(role_binding=request.role_binding)
    platform.answers["DeleteRoleBinding"] = lambda request: DeleteRoleBindingResponse()


def test_a_role_is_granted_where_it_was_said(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("role", "grant", "operator", "credentials/ci", "--project", "uav")[:2] == (
        0,
        "credentials/ci is operator in uav\n",
    )
    _, request = platform.calls[-1]
    assert (request.parent, request.role_binding.role) == ("projects/uav", ROLE_OPERATOR)
    assert waypost("role", "grant", "ADMIN", "credentials/ci")[1] == "credentials/ci is admin everywhere\n"
    _, request = platform.calls[-1]
    assert (request.parent, request.role_binding.role) == ("", ROLE_ADMIN)


def test_grants_are_listed_with_the_place_where_they_hold(waypost: Run) -> None:
    code, out, _ = waypost("role", "list")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["credentials/ci", "viewer", "everywhere"],
        ["credentials/ci", "operator", "uav"],
    ]
    assert "everywhere" not in waypost("role", "list", "uav")[1]


def test_a_role_is_revoked_where_it_was_granted_and_nowhere_else(platform: FakePlatform, waypost: Run) -> None:
    assert waypost("role", "revoke", "operator", "credentials/ci", "--project", "uav")[0] == 0
    assert platform.calls[-1][1].name == IN_UAV.name
    code, _, err = waypost("role", "revoke", "operator", "credentials/ci")
    assert code == 3
    assert err.startswith("error: credentials/ci was not granted operator everywhere")


def test_what_is_no_role_is_refused_before_the_platform_is_asked(platform: FakePlatform, waypost: Run) -> None:
    for words in (("role", "grant", "root", "credentials/ci"), ("token", "create", "ci", "--role", "root")):
        code, _, err = waypost(*words)
        assert (code, "viewer, developer, operator, admin" in err) == (2, True)
    assert platform.calls == []


def test_a_token_for_the_api_is_shown_once_and_alone_on_stdout(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["CreateCredential"] = lambda request: CreateCredentialResponse(secret="wp1_secret")
    code, out, err = waypost(
        "token", "create", "ci", "--role", "operator", "--project", "uav", "--expires-in-days", "1"
    )
    assert (code, out) == (0, "wp1_secret\n")
    assert "operator in uav: keep the line above" in err
    _, request = platform.calls[-1]
    assert (request.parent, request.credential_id, request.credential.role) == ("projects/uav", "ci", ROLE_OPERATOR)
    assert request.credential.expire_time.seconds > 0


def test_tokens_are_listed_with_their_roles(platform: FakePlatform, waypost: Run) -> None:
    platform.answers["ListCredentials"] = lambda request: ListCredentialsResponse(
        credentials=[{"name": "credentials/ci", "role": ROLE_VIEWER, "description": "nightly"}]
    )
    assert waypost("token", "list")[1].splitlines()[1].split() == ["ci", "viewer", "-", "never", "nightly"]


def test_the_audit_log_is_shown_oldest_first_with_its_outcome(platform: FakePlatform, waypost: Run) -> None:
    done = AuditEntry(id=2, subject="users/anna", method="PositionService/UpdatePosition", code="OK")
    refused = AuditEntry(
        id=1, method="ProjectService/DeleteProject", code="UNAUTHENTICATED", reason="CREDENTIAL_UNKNOWN"
    )
    platform.answers["ListAuditEntries"] = lambda request: ListAuditEntriesResponse(audit_entries=[done, refused])
    code, out, _ = waypost("audit", "uav/path/tower-7", "--by", "users/anna", "--failed", "--method", "UpdatePosition")
    assert code == 0
    lines = [line.split() for line in out.splitlines()[1:]]
    assert (lines[0][-1], lines[1][-1]) == ("CREDENTIAL_UNKNOWN", "OK")
    assert "nobody" in lines[0]
    _, request = platform.calls[-1]
    assert (request.resource, request.subject, request.method, request.failed_only) == (
        "projects/uav/applications/path/positions/tower-7",
        "users/anna",
        "UpdatePosition",
        True,
    )
    waypost("audit", "users/anna")
    assert platform.calls[-1][1].resource == "users/anna"


def test_a_quota_is_set_field_by_field_and_taken_away_by_zero(platform: FakePlatform, waypost: Run) -> None:
    code, _, _ = waypost("project", "create", "uav", "--quota-positions", "10", "--quota-cpu", "1.5")
    assert code == 0
    quota = platform.calls[-1][1].project.spec.quota
    assert (quota.positions, quota.cpu_millis, quota.replicas) == (10, 1500, 0)
    assert waypost("project", "update", "uav", "--quota-memory", "64Gi", "--quota-positions", "0")[0] == 0
    _, request = platform.calls[-1]
    assert sorted(request.update_mask.paths) == ["spec.quota.memory_bytes", "spec.quota.positions"]
    assert (request.project.spec.quota.memory_bytes, request.project.spec.quota.positions) == (64 << 30, 0)
    assert waypost("project", "update", "uav", "--quota-memory", "much")[0] == 2


def test_a_token_is_replaced_and_the_new_secret_stands_alone_on_stdout(platform: FakePlatform, waypost: Run) -> None:
    made = RotateCredentialResponse(
        secret="wp1_new",
        credential={"name": "projects/uav/applications/path/credentials/xapp-r2"},
        replaced={"expire_time": {"seconds": 4_000_000_000}},
    )
    platform.answers["RotateCredential"] = lambda request: made
    code, out, err = waypost("application", "token", "rotate", "uav/path", "xapp", "--overlap-hours", "0.5")
    assert (code, out) == (0, "wp1_new\n")
    assert "token xapp-r2 made" in err
    assert "xapp ends in " in err
    _, request = platform.calls[-1]
    assert (request.name, request.overlap.seconds) == ("projects/uav/applications/path/credentials/xapp", 1800)
    assert waypost("token", "rotate", "ci", "--project", "uav", "--new-id", "ci-2")[0] == 0
    _, request = platform.calls[-1]
    assert (request.name, request.credential_id) == ("projects/uav/credentials/ci", "ci-2")
