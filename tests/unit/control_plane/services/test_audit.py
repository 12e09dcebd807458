"""The audit log: what comes into it, what never does, and who may read it."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import structlog.testing
from google.protobuf.message_factory import GetMessageClass

import waypost.api
from control_plane.audit import COLLECTIONS, REFUSALS_MAX, Audit, resource_of, summary
from control_plane.store import AuditFilter
from tests.unit.control_plane.services.api import APPLICATION, POSITION, PROJECT, Api, with_api
from waypost.api.control.v1 import audit_pb2 as pb
from waypost.api.control.v1 import (
    credential_pb2,
    platform_pb2,
    position_pb2,
    project_pb2,
    session_pb2,
    subscription_pb2,
    user_pb2,
    watch_pb2,
)
from waypost.api.control.v1.role_pb2 import ROLE_ADMIN, ROLE_VIEWER
from waypost.errors import Denied, Exhausted, MeshError, NotFound, Unauthenticated

SECRET = "correct horse battery"


async def entries(api: Api, **wanted: Any) -> list[pb.AuditEntry]:
    return list((await api.audit.ListAuditEntries(pb.ListAuditEntriesRequest(**wanted))).audit_entries)


@with_api
async def test_a_change_is_written_down_with_who_when_from_where_and_what(api: Api) -> None:
    await api.make_application()
    (project,) = await entries(api, resource=PROJECT, method="CreateProject")
    assert (project.subject, project.credential, project.code) == ("credentials/tester", "credentials/tester", "OK")
    assert (project.method, project.resource) == ("ProjectService/CreateProject", PROJECT)
    assert project.time.ToMilliseconds() == api.clock.now_s * 1000
    assert project.peer.startswith("unix")
    assert json.loads(project.request) == {"project_id": "uav"}
    assert [entry.resource for entry in await entries(api)] == [APPLICATION, PROJECT]


@with_api
async def test_what_only_reads_is_not_written_down_unless_it_was_refused(api: Api) -> None:
    await api.project.ListProjects(project_pb2.ListProjectsRequest())
    with pytest.raises(NotFound):
        await api.project.GetProject(project_pb2.GetProjectRequest(name=PROJECT))
    assert await entries(api) == []
    async with api.with_token("wp1_stolen") as thief:
        with pytest.raises(Unauthenticated):
            await thief.project.ListProjects(project_pb2.ListProjectsRequest())
        with pytest.raises(Unauthenticated):
            async for _ in thief.watch.Watch(watch_pb2.WatchRequest()):
                pass
    await api.make_application()
    async with api.with_role(ROLE_VIEWER, PROJECT) as guest:
        with pytest.raises(Denied):
            await guest.project.GetProject(project_pb2.GetProjectRequest(name="projects/ran"))
    refused = await entries(api, failed_only=True)
    assert [(entry.subject, entry.code, entry.reason, entry.resource) for entry in refused] == [
        (f"{PROJECT}/credentials/guest", "PERMISSION_DENIED", "ROLE_MISSING", "projects/ran"),
        ("", "UNAUTHENTICATED", "CREDENTIAL_UNKNOWN", ""),
        ("", "UNAUTHENTICATED", "CREDENTIAL_UNKNOWN", ""),
    ]
    assert "stolen" not in str(refused)


@with_api
async def test_a_change_that_failed_is_written_down_too(api: Api) -> None:
    with pytest.raises(NotFound):
        await api.position.DeletePosition(position_pb2.DeletePositionRequest(name=POSITION))
    (entry,) = await entries(api)
    assert (entry.code, entry.reason, entry.resource) == ("NOT_FOUND", "POSITION_NOT_FOUND", POSITION)


@with_api
async def test_no_secret_comes_into_it(api: Api) -> None:
    await api.user.CreateUser(user_pb2.CreateUserRequest(user_id="anna", password=SECRET))
    change = user_pb2.SetPasswordRequest(name="users/anna", password=SECRET, current_password=SECRET)
    await api.user.SetPassword(change)
    login = await api.session.Login(session_pb2.LoginRequest(user="users/anna", password=SECRET))
    made = await api.credential.CreateCredential(
        credential_pb2.CreateCredentialRequest(credential_id="ci", credential={"role": ROLE_VIEWER})
    )
    spec = subscription_pb2.SubscriptionSpec(endpoint="nowhere", activation_token=SECRET)
    subscribe = subscription_pb2.CreateSubscriptionRequest(subscription_id="lab", subscription={"spec": spec})
    with pytest.raises(MeshError):
        await api.subscription.CreateSubscription(subscribe)
    found = await entries(api)
    assert len(found) == 5
    for secret in (SECRET, login.token, made.secret, "argon2"):
        assert secret not in str(found)
    assert "nowhere" in found[0].request


@with_api
async def test_filters_pages_and_that_a_page_token_belongs_to_its_filter(api: Api) -> None:
    for number in range(5):
        await api.project.CreateProject(project_pb2.CreateProjectRequest(project_id=f"p{number}"))
    request = pb.ListAuditEntriesRequest(page_size=2)
    seen = []
    while True:
        page = await api.audit.ListAuditEntries(request)
        seen += [entry.resource for entry in page.audit_entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        other = pb.ListAuditEntriesRequest(page_size=2, subject="users/x", page_token=page.next_page_token)
        with pytest.raises(MeshError) as refused:
            await api.audit.ListAuditEntries(other)
        assert refused.value.reason == "BAD_PAGE_TOKEN"
    assert seen == [f"projects/p{number}" for number in (4, 3, 2, 1, 0)]
    assert await entries(api, subject="users/nobody") == []
    assert len(await entries(api, start_time={"seconds": int(api.clock.now_s)})) == 5
    assert await entries(api, end_time={"seconds": int(api.clock.now_s)}) == []


@with_api
async def test_the_administrator_of_a_project_reads_of_that_project_alone(api: Api) -> None:
    await api.make_application()
    async with api.with_role(ROLE_ADMIN, PROJECT) as guest:
        assert len(await entries(guest, resource=PROJECT)) == 2
        for resource in ("", "projects/ran", "users", "projects/-"):
            with pytest.raises(Denied):
                await entries(guest, resource=resource)


@with_api
async def test_who_is_refused_without_end_costs_a_bounded_number_of_entries(api: Api) -> None:
    async with api.with_token("wp1_stolen") as thief:
        for _ in range(REFUSALS_MAX + 20):
            with pytest.raises(Unauthenticated):
                await thief.platform.GetPlatform(platform_pb2.GetPlatformRequest())
    await api.make_application()
    found = await entries(api, page_size=1000)
    assert len(found) == REFUSALS_MAX + 2
    assert found[0].resource == APPLICATION


@with_api
async def test_an_entry_that_cannot_be_written_does_not_take_the_change_back(api: Api) -> None:
    class Full:
        async def append(self, row: object) -> None:
            raise Exhausted("DISK_FULL", "the store cannot grow")

        async def newest(self, wanted: AuditFilter, *, limit: int = 100, before: int = 0) -> list[Any]:
            return []

    class Context:
        def peer(self) -> str:
            return "ipv4:10.0.0.7:1"

    request = project_pb2.CreateProjectRequest(project_id="uav")
    path = "/waypost.api.control.v1.ProjectService/CreateProject"
    with structlog.testing.capture_logs() as logs:
        await Audit(Full(), api.clock).witness(path, Context(), request, "OK", "")
    assert [(line["event"], line["resource"]) for line in logs] == [("audit_lost", PROJECT)]


def messages() -> Iterator[Any]:
    """Every request of every service that we declare."""
    for found in pkgutil.walk_packages(waypost.api.__path__, "waypost.api."):
        if found.name.endswith("_pb2") and ".inference." not in found.name:
            module = importlib.import_module(found.name)
            yield from module.DESCRIPTOR.message_types_by_name.values()


MESSAGES = list(messages())
SECRETS = ("password", "secret", "token")
PUBLIC = {"page_token", "next_page_token", "secret_sha256"}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.full_name)
def test_every_field_that_is_named_like_a_secret_is_marked_as_one(message: Any) -> None:
    for field in message.fields:
        if field.type == field.TYPE_STRING and field.name not in PUBLIC and any(w in field.name for w in SECRETS):
            assert field.GetOptions().debug_redact, f"mark {field.full_name} with [debug_redact = true]"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.full_name)
def test_every_create_request_says_in_the_log_what_it_makes(message: Any) -> None:
    if message.name.startswith("Create") and message.name.endswith("Request"):
        (field,) = [each.name for each in message.fields if each.name.endswith("_id")]
        made = GetMessageClass(message)(**{field: "x"})
        assert resource_of(made) == f"{COLLECTIONS[field]}/x"


def test_what_a_request_is_about_is_found_wherever_it_stands() -> None:
    assert resource_of(position_pb2.UpdatePositionRequest(position={"name": POSITION})) == POSITION
    assert resource_of(position_pb2.GetPositionRequest(name=POSITION)) == POSITION
    assert resource_of(position_pb2.ListPositionsRequest(parent=APPLICATION)) == APPLICATION
    assert resource_of(session_pb2.LoginRequest(user="users/anna")) == "users/anna"
    assert resource_of(session_pb2.LogoutRequest()) == ""


def test_what_json_has_no_form_for_is_kept_as_text() -> None:
    request = position_pb2.UpdatePositionRequest(position={"name": POSITION}, update_mask={"paths": ["Not_A__Field"]})
    request.position.create_time.seconds = -(2**63)
    assert str(-(2**63)) in summary(request)
    assert "Not_A__Field" in summary(request)


def test_a_long_request_is_cut_and_bytes_are_left_out() -> None:
    long = position_pb2.UpdatePositionRequest(position={"name": POSITION, "description": "x" * 5000})
    assert len(summary(long)) < 500
    labels = {f"k{n}": "v" * 60 for n in range(64)}
    assert len(summary(position_pb2.UpdatePositionRequest(position={"labels": labels}))) <= 2001
    assert json.loads(summary(position_pb2.TryPositionRequest(name=POSITION, request=b"\x00payload"))) == {
        "name": POSITION
    }
